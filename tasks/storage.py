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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from pydantic import JsonValue

from tasks.artifacts import MANIFEST, Descriptor, FileEntry, Frozen, MadeBy, content_digest
from tasks.errors import ArtifactError

CHUNK = 1 << 20


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


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return FileEntry(size=path.stat().st_size, sha256=digest.hexdigest())


def file_table(folder: Path) -> dict[str, FileEntry]:
    """Every file under a folder but the manifest, by relative POSIX path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    with ThreadPoolExecutor(4) as pool:
        entries = pool.map(file_entry, paths)
    return {path.relative_to(folder).as_posix(): entry for path, entry in zip(paths, entries, strict=True)}


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
        self._options = storage_options or {}

    def uri(self, stage: str, key: str) -> str:
        """Where the artifact of a key lies, or would lie."""
        return f"{self.root}/{stage}/{key}"

    def manifest(self, stage: str, key: str) -> Manifest | None:
        """The manifest of a finished artifact; None where there is none.

        Raises ArtifactError if a manifest is there but cannot be read.
        """
        text = self._read_text(f"{self.uri(stage, key)}/{MANIFEST}")
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
        text = manifest.model_dump_json(indent=1)
        if self.remote:
            self._upload(folder, stage, manifest.key, text)
            return
        path = folder / MANIFEST
        with path.open("w", encoding="utf-8") as handle:
            handle.write(text)
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
        return fsspec.core.url_to_fs(self.root, **self._options)[0]

    def _read_text(self, uri: str) -> str | None:
        try:
            if self.remote:
                return bytes(self._filesystem().cat_file(uri)).decode()
            return Path(uri).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _upload(self, folder: Path, stage: str, key: str, manifest_text: str) -> None:
        filesystem, target = self._filesystem(), self.uri(stage, key)
        if filesystem.exists(f"{target}/{MANIFEST}"):
            filesystem.rm(f"{target}/{MANIFEST}")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            filesystem.put_file(str(path), f"{target}/{path.relative_to(folder).as_posix()}")
        filesystem.pipe_file(f"{target}/{MANIFEST}", manifest_text.encode())
        shutil.rmtree(folder)

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
) -> Manifest:
    """The manifest of a built folder, every file hashed."""
    files = file_table(folder)
    return Manifest(
        kind=kind, key=key, key_parts=key_parts, digest=content_digest(files), counts=counts, facts=facts,
        parents=parents, made_by=made_by, files=files,
    )
