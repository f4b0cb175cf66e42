"""Reads byte ranges of an artifact where it lies in an object store, through a bounded cache on the local disk.

Training takes samples in an order that mixes all shards. So a shard is worth fetching whole where the shards of a stage
fit into the cache together: each is then fetched once, when its first sample is wanted. Where they do not fit, whole
shards would be fetched again and again for a sample each; then exactly the bytes of a sample are asked for. Either way
what was read is compared with its digest, and nobody holds the data set: neither the driver nor a worker's memory.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from tasks.artifacts import Artifact, FileEntry
from tasks.errors import ArtifactError, EnvironmentProblem
from tasks.sinks import file_entry
from tasks.spans import SpanReader
from tasks.storage import Store


@dataclass(frozen=True)
class FileCache:
    """Whole files on the local disk, named by their sha256, the least recently used removed beyond `bound` bytes.

    Processes may share one. A file that is removed while it is read stays readable to whoever has it open.
    """

    folder: Path
    bound: int

    def take(self, entry: FileEntry, download: Callable[[Path], object]) -> Path:
        """The path of a file of this size and digest, which `download` brings where it is not there yet.

        Raises ArtifactError if what was brought is another file.
        """
        path = self.folder / entry.sha256
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{entry.sha256}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the ranks of a node want the same file at the same time
            if not path.exists():
                self._make_room(entry.size)
                self._bring(path, entry, download)
        os.utime(path)
        return path

    def _bring(self, path: Path, entry: FileEntry, download: Callable[[Path], object]) -> None:
        handle, name = tempfile.mkstemp(prefix="partial-", dir=self.folder)
        os.close(handle)
        try:
            download(Path(name))
            if (found := file_entry(Path(name))) != entry:
                raise ArtifactError(f"{found.size} bytes, {entry.size} were expected, or other ones")
            Path(name).rename(path)
        finally:
            Path(name).unlink(missing_ok=True)

    def _make_room(self, size: int) -> None:
        kept = [(found.stat().st_mtime_ns, found.stat().st_size, found) for found in self._files()]
        held = sum(entry[1] for entry in kept)
        for _, freed, found in sorted(kept):
            if held + size <= self.bound:
                return
            found.unlink(missing_ok=True)
            held -= freed

    def _files(self) -> list[Path]:
        return [path for path in self.folder.iterdir() if len(path.name) == 64]


def readable(store: Store, artifact: Artifact, cache: FileCache) -> Path | RemoteSpans:
    """The artifact's folder, or what reads it where it lies. Raises ArtifactError if a remote one is gone."""
    if not store.remote:
        return store.local(artifact)
    stage, key = artifact.uri.rsplit("/", 2)[1:]
    manifest = store.manifest(stage, key)
    if manifest is None:
        raise ArtifactError(f"{artifact.uri} is gone; run again to rebuild it")
    return RemoteSpans(artifact.uri, manifest.files, cache, store.options)


@dataclass(frozen=True)
class RemoteSpans:
    """See the module, and `tasks.spans.Spans`.

    `files` is the artifact's table of files, `options` what fsspec has to be told to reach `uri`: an endpoint, never a
    key, as this travels to workers. Keys come from the environment of whoever reads.
    """

    uri: str
    files: Mapping[str, FileEntry]
    cache: FileCache
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """See `Spans`."""
        return self.uri

    def read(self, file: str, offset: int, size: int, sha256: str | None = None) -> bytes:
        """See `Spans`. Raises EnvironmentProblem where the store cannot be reached."""
        if self._fits(file):
            return self._cached.read(self._fetched(file), offset, size)
        data = self._range(file, offset, size)
        if len(data) != size:
            raise ArtifactError(f"{self.uri}/{file} is cut off; run again to rebuild it")
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise ArtifactError(f"{self.uri}/{file} was altered at byte {offset}; run again to rebuild it")
        return data

    def whole(self, file: str) -> Path:
        """See `Spans`. Raises EnvironmentProblem where the store cannot be reached."""
        entry = self.files.get(file)
        if entry is None:
            raise ArtifactError(f"{self.uri}: {file} is missing; run again to rebuild it")

        def download(path: Path) -> None:
            self._reaching(file, lambda: self._filesystem.get_file(f"{self.uri}/{file}", str(path)))

        try:
            return self.cache.take(entry, download)
        except ArtifactError as error:
            raise ArtifactError(f"{self.uri}/{file} was altered ({error}); run again to rebuild it") from error

    def close(self) -> None:
        """See `Spans`."""
        self._cached.close()
        self._names.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("uri", "files", "cache", "options")}

    def _fetched(self, file: str) -> str:
        """The name in the cache of a file that was fetched. Asked for once: an open file outlives its removal."""
        if file not in self._names:
            self._names[file] = self.whole(file).name
        return self._names[file]

    @cached_property
    def _names(self) -> dict[str, str]:
        return {}

    def _fits(self, file: str) -> bool:
        """Whether the files of this one's folder fit into the cache together: the shards of a stage."""
        return self._sizes[os.path.dirname(file)] <= self.cache.bound

    @cached_property
    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for name, entry in self.files.items():
            folder = os.path.dirname(name)
            sizes[folder] = sizes.get(folder, 0) + entry.size
        return sizes

    @cached_property
    def _cached(self) -> SpanReader:
        return SpanReader(self.cache.folder)

    @cached_property
    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.uri, **self.options)[0]

    def _range(self, file: str, offset: int, size: int) -> bytes:
        path = f"{self.uri}/{file}"
        return bytes(self._reaching(file, lambda: self._filesystem.cat_file(path, start=offset, end=offset + size)))

    def _reaching(self, file: str, call: Callable[[], Any]) -> Any:
        # Broad, as botocore, aiohttp and s3fs share no base class; each has tried again what a second try may cure.
        try:
            return call()
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.uri}/{file} is missing; run again to rebuild it") from error
        except Exception as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise EnvironmentProblem(
                f"{self.uri}/{file} cannot be read ({told}); see to the store and run again: nothing is lost"
            ) from error
