"""The artifact store: a content-keyed cache in a folder or in S3, atomic to write and never trusted to read.

An artifact lies at `<root>/<stage>/<key>/`. It exists when its manifest does, and the manifest is written last: a
local one by renaming the whole finished folder into place, a remote one by uploading `manifest.json` after all else.
Before a cached artifact is used every file is compared with the manifest; what differs is rebuilt.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
from pydantic import JsonValue

from tasks.artifacts import MANIFEST, Artifact, Descriptor, FileEntry, Frozen, MadeBy, content_digest
from tasks.errors import ArtifactError
from tasks.sinks import FolderSink, RemoteSink, Sink
from tasks.sinks import file_entry as file_entry


class Manifest(Frozen):
    """What `manifest.json` holds: the descriptor's fields without its uri, the file table, and the key's parts."""

    kind: str
    key: str
    key_parts: dict[str, JsonValue]
    digest: str
    counts: dict[str, int]
    facts: dict[str, JsonValue]
    parents: dict[str, str]
    made_by: MadeBy
    files: dict[str, FileEntry]


def file_table(folder: Path, known: Mapping[str, FileEntry] | None = None) -> dict[str, FileEntry]:
    """Every file under a folder but the manifest, by relative POSIX path.

    `known` are files that were hashed while they were written: they are not read again, and need not lie here.
    """
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MANIFEST
    }
    paths = {name: path for name, path in found.items() if known is None or name not in known}
    with ThreadPoolExecutor(4) as pool:
        entries = pool.map(file_entry, paths.values())
    return {**(known or {}), **dict(zip(paths, entries, strict=True))}


def differences(folder: Path, files: dict[str, FileEntry]) -> list[str]:
    """What in a folder is not as its manifest says, one phrase a file."""
    found = file_table(folder)
    return (
        [f"{path} is missing" for path in sorted(files.keys() - found.keys())]
        + [f"{path} is not of this artifact" for path in sorted(found.keys() - files.keys())]
        + [f"{path} was altered" for path in sorted(files.keys() & found.keys()) if files[path] != found[path]]
    )


class Store:
    """Artifacts under one root, a local folder or `s3://bucket/prefix`.

    `scratch` is a local folder for what is being built and for local copies of remote artifacts.
    """

    def __init__(self, root: str, scratch: Path, storage_options: dict[str, Any] | None = None) -> None:
        self.root = root.rstrip("/")
        self.remote = "://" in self.root and not self.root.startswith("file://")
        self.scratch = scratch
        self.options = storage_options or {}

    def uri(self, stage: str, key: str) -> str:
        """Where the artifact of a key lies, or would lie."""
        return f"{self.root}/{stage}/{key}"

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished artifact; None where there is none.

        Raises ArtifactError if a manifest is there but cannot be read.
        """
        text = self._read(f"{self.uri(stage, key)}/{MANIFEST}")
        if text is None:
            return None
        try:
            return Manifest.model_validate_json(text)
        except ValueError as error:
            raise ArtifactError(f"{self.uri(stage, key)}/{MANIFEST} cannot be read: it will be rebuilt") from error

    def keys(self, stage: str) -> list[str]:
        """Keys of the finished artifacts of a stage."""
        if self.remote:
            paths = self._filesystem().glob(f"{self.root}/{stage}/*/{MANIFEST}")
            return sorted(str(path).rsplit("/", 2)[1] for path in paths)
        return sorted(path.parent.name for path in Path(self.root, stage).glob(f"*/{MANIFEST}"))

    def places(self) -> list[tuple[str, str]]:
        """(stage, key) of every folder of an artifact, finished or not."""
        if self.remote:
            filesystem = self._filesystem()
            found = filesystem.find(self.root) if filesystem.exists(self.root) else []
            base = str(filesystem._strip_protocol(self.root)).rstrip("/") + "/"
            parts = [str(path).removeprefix(base).split("/") for path in found]
            return sorted({(part[0], part[1]) for part in parts if len(part) > 2})
        return sorted((path.parent.name, path.name) for path in Path(self.root).glob("*/*") if path.is_dir())

    def size(self, stage: str, key: str) -> int:
        """Bytes that lie in the folder of an artifact, finished or not."""
        if self.remote:
            return int(self._filesystem().du(self.uri(stage, key)))
        return sum(path.stat().st_size for path in Path(self.uri(stage, key)).rglob("*") if path.is_file())

    def remove(self, stage: str, key: str) -> None:
        """Remove an artifact, its manifest first: half removed it is none."""
        target = self.uri(stage, key)
        if self.remote:
            filesystem = self._filesystem()
            if filesystem.exists(f"{target}/{MANIFEST}"):
                filesystem.rm(f"{target}/{MANIFEST}")
            filesystem.rm(target, recursive=True)
            return
        Path(target, MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(target)

    def descriptor(self, kind: type[Descriptor], stage: str, manifest: Manifest) -> Descriptor:
        """The descriptor of a finished artifact."""
        return kind(
            uri=self.uri(stage, manifest.key),
            digest=manifest.digest,
            key=manifest.key,
            counts=manifest.counts,
            parents=manifest.parents,
            facts=manifest.facts,
            made_by=manifest.made_by,
        )

    def newest(self, kind: type[Descriptor], stage: str, count: int) -> list[Descriptor]:
        """The finished artifacts of a stage that were made last, newest first. Unreadable ones are passed over."""
        found = []
        for key in self.keys(stage):
            with suppress(ArtifactError):
                if manifest := self.manifest(stage, key):
                    found.append(manifest)
        found.sort(key=lambda manifest: (manifest.made_by.created, manifest.key), reverse=True)
        return [self.descriptor(kind, stage, manifest) for manifest in found[:count]]

    def read_file(self, descriptor: Artifact, path: str) -> bytes:
        """One file of an artifact, without fetching the others. Raises ArtifactError if it is not as it was made."""
        stage, key = descriptor.uri.rsplit("/", 2)[1:]
        manifest = self.manifest(stage, key)
        entry = manifest.files.get(path) if manifest else None
        data = None if entry is None else self._read(f"{descriptor.uri}/{path}")
        if entry is None or data is None:
            raise ArtifactError(f"{descriptor.uri}: {path} is missing")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ArtifactError(f"{descriptor.uri}: {path} was altered")
        return data

    def sink(self, stage: str, key: str, folder: Path) -> Sink:
        """Where a build puts large files: its folder, or the artifact's own place in a remote store.

        A remote artifact of that key ceases to exist here, as its files are about to be replaced.
        """
        if not self.remote:
            return FolderSink(folder)
        filesystem, target = self._filesystem(), self.uri(stage, key)
        if filesystem.exists(f"{target}/{MANIFEST}"):
            filesystem.rm(f"{target}/{MANIFEST}")
        return RemoteSink(target, self.options)

    def local(self, descriptor: Descriptor) -> Path:
        """A local folder with the artifact's files: itself, or a verified copy of a remote one.

        Raises ArtifactError when the artifact is gone or a downloaded file is not as its manifest says.
        """
        if not self.remote:
            folder = Path(descriptor.uri)
            if not (folder / MANIFEST).is_file():
                raise ArtifactError(f"{folder} is gone or half written; run again to rebuild it")
            return folder
        stage, key = descriptor.uri.rsplit("/", 2)[1:]
        return self._fetch(stage, key)

    def verify(self, stage: str, manifest: Manifest) -> list[str]:
        """What of an artifact is not as its manifest says; empty if it is whole."""
        if self.remote:
            try:
                self._fetch(stage, manifest.key)
            except ArtifactError as error:
                return [str(error)]
            return []
        return differences(Path(self.uri(stage, manifest.key)), manifest.files)

    def workspace(self, stage: str, key: str) -> Path:
        """A fresh local folder to build an artifact in."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{stage}-{key[:12]}-", dir=self.scratch))

    def publish(self, folder: Path, stage: str, manifest: Manifest) -> None:
        """Move a built folder to its place, manifest last. An artifact already there is replaced."""
        if self.remote:
            self._upload(folder, stage, manifest)
            return
        path = folder / MANIFEST
        with path.open("w", encoding="utf-8") as handle:
            handle.write(manifest.model_dump_json(indent=1))
            handle.flush()
            os.fsync(handle.fileno())
        target = Path(self.uri(stage, manifest.key))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            aside = self.workspace("replaced", manifest.key)
            target.rename(aside / "old")
            folder.rename(target)
            shutil.rmtree(aside)
        else:
            folder.rename(target)

    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.root, **self.options)[0]

    def _read(self, uri: str) -> bytes | None:
        try:
            return bytes(self._filesystem().cat_file(uri)) if self.remote else Path(uri).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _upload(self, folder: Path, stage: str, manifest: Manifest) -> None:
        filesystem, target = self._filesystem(), self.uri(stage, manifest.key)
        if filesystem.exists(f"{target}/{MANIFEST}"):
            filesystem.rm(f"{target}/{MANIFEST}")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            filesystem.put_file(str(path), f"{target}/{path.relative_to(folder).as_posix()}")
        self._remove_foreign(target, manifest)
        filesystem.pipe_file(f"{target}/{MANIFEST}", manifest.model_dump_json(indent=1).encode())
        shutil.rmtree(folder)

    def _remove_foreign(self, target: str, manifest: Manifest) -> None:
        """Remove what an earlier attempt at the same key left behind and this one did not write again."""
        filesystem = self._filesystem()
        prefix = str(filesystem._strip_protocol(target)) + "/"
        left = [path for path in filesystem.find(target) if path.removeprefix(prefix) not in manifest.files]
        if left:
            filesystem.rm(left)

    def _fetch(self, stage: str, key: str) -> Path:
        manifest = self.manifest(stage, key)
        if manifest is None:
            raise ArtifactError(f"{self.uri(stage, key)} is gone or half written; run again to rebuild it")
        target = self.scratch / "fetched" / f"{key}-{manifest.digest[:12]}"
        if target.is_dir() and not differences(target, manifest.files):
            return target
        shutil.rmtree(target, ignore_errors=True)
        working = self.workspace("fetch", key)
        filesystem = self._filesystem()
        for path in manifest.files:
            (working / path).parent.mkdir(parents=True, exist_ok=True)
            try:
                filesystem.get_file(f"{self.uri(stage, key)}/{path}", str(working / path))
            except FileNotFoundError as error:
                raise ArtifactError(f"{self.uri(stage, key)}: {path} is missing") from error
        if wrong := differences(working, manifest.files):
            shutil.rmtree(working)
            raise ArtifactError(f"{self.uri(stage, key)}: {wrong[0]} ({len(wrong)} file(s) in all)")
        target.parent.mkdir(parents=True, exist_ok=True)
        working.rename(target)
        return target


def make_manifest(
    folder: Path,
    kind: str,
    key: str,
    key_parts: dict[str, JsonValue],
    counts: dict[str, int],
    facts: dict[str, JsonValue],
    parents: dict[str, str],
    made_by: MadeBy,
    known: Mapping[str, FileEntry] | None = None,
) -> Manifest:
    """The manifest of a built folder, every file hashed but those that are `known` (see `file_table`)."""
    files = file_table(folder, known)
    return Manifest(
        kind=kind, key=key, key_parts=key_parts, digest=content_digest(files), counts=counts, facts=facts,
        parents=parents, made_by=made_by, files=files,
    )
