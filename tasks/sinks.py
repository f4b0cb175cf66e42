"""Where the files of an artifact go while they are written: a local folder, or straight to the store's own place in S3.

A sink hashes what passes through it, so that the manifest's file table is that of the bytes that were written, without
reading them again. Sinks can be sent to other processes. What was written through a sink is no artifact yet: it
becomes one with its manifest (`tasks.storage.Store.publish`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import fsspec

from tasks.artifacts import FileEntry
from tasks.errors import EnvironmentProblem

CHUNK = 1 << 20
PART_BYTES = 16 << 20
"""Size of a part of a multipart upload. S3 takes 10,000 of them, so a file may have 160 GB; a writer holds two."""


class Writable(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


class SinkFile:
    """A file that is being written: takes bytes in order, and knows their number and sha256."""

    def __init__(self, raw: Writable) -> None:
        self._raw = raw
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self._raw.write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def entry(self) -> FileEntry:
        """Size and sha256 of what has been written."""
        return FileEntry(size=self.size, sha256=self._digest.hexdigest())


class Sink(Protocol):
    """Takes the files of one artifact, by relative POSIX path."""

    def create(self, path: str) -> AbstractContextManager[SinkFile]:
        """Open a file to write. A block that fails leaves no file. Raises OSError or EnvironmentProblem."""

    def adopt(self, path: str, source: str, entry: FileEntry) -> bool:
        """Take over a file of an earlier artifact, by its uri, without writing it; False if it is not as told."""


@dataclass(frozen=True)
class FolderSink:
    """Files in a local folder. An adopted file is a hard link where the file system allows one."""

    folder: Path

    @contextmanager
    def create(self, path: str) -> Iterator[SinkFile]:
        """See `Sink`."""
        target = self._target(path)
        try:
            with target.open("xb", buffering=CHUNK) as raw:
                yield SinkFile(raw)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def adopt(self, path: str, source: str, entry: FileEntry) -> bool:
        """See `Sink`. The file is read and hashed: a cached file is never trusted."""
        target = self._target(path)
        try:
            os.link(source, target)
        except FileNotFoundError:
            return False
        except OSError:  # another file system, or one without links
            try:
                shutil.copyfile(source, target)
            except BaseException:
                target.unlink(missing_ok=True)
                raise
        if file_entry(target) == entry:
            return True
        target.unlink()
        return False

    def _target(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


@dataclass(frozen=True)
class RemoteSink:
    """Files under a uri of an object store, sent in parts while they are written: no local copy, no half objects.

    s3fs and botocore send a part again that was refused or lost for a passing reason. What fails for good aborts the
    upload of that file.
    """

    uri: str
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def create(self, path: str) -> Iterator[SinkFile]:
        """See `Sink`."""
        target = f"{self.uri}/{path}"
        with failing_for_good(target):
            raw = self._filesystem.open(target, "wb", block_size=PART_BYTES)
        # Closed by hand: to leave s3fs's own `with` by an error would complete the upload of half a file.
        try:
            yield SinkFile(_Explained(raw, target))
            with failing_for_good(target):
                raw.close()
        except BaseException:
            with suppress(Exception):  # the upload's own error is the one to tell
                raw.discard()
            raw.closed = True
            raise

    def adopt(self, path: str, source: str, entry: FileEntry) -> bool:
        """See `Sink`. The copy is made by the server, so only the size is compared here.

        Whoever fetches the artifact compares every byte (`Store.local`, `llavaflow verify`).
        """
        filesystem = self._filesystem
        try:
            if filesystem.info(source)["size"] != entry.size:
                return False
            with failing_for_good(f"{self.uri}/{path}"):
                filesystem.cp_file(source, f"{self.uri}/{path}")
        except FileNotFoundError:
            return False
        return True

    @cached_property
    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.uri, **self.options)[0]


@dataclass(frozen=True)
class _Explained:
    """A file of fsspec whose errors say what failed, and what to do."""

    raw: Any
    target: str

    def write(self, data: bytes) -> None:
        with failing_for_good(self.target):
            self.raw.write(data)


@contextmanager
def failing_for_good(target: str) -> Iterator[None]:
    """Within a call to a remote store: what fails is told as an EnvironmentProblem that names `target`."""
    # Broad, as botocore, aiohttp and s3fs share no base class; each has tried again what a second try may cure.
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise EnvironmentProblem(
            f"{target} cannot be written ({told}); nothing was published: see to the store and run again"
        ) from error


def file_entry(path: Path) -> FileEntry:
    """Size and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(CHUNK):
            digest.update(chunk)
    return FileEntry(size=path.stat().st_size, sha256=digest.hexdigest())
