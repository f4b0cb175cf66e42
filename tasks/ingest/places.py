"""Where the files of a source lie: a local folder or s3://bucket/prefix, its images as files or as members of tars."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import fsspec

from tasks.errors import DataError, EnvironmentProblem

S3 = "s3://"
PAGE = 1000
BUFFER = 1 << 18
MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True)
class Listed:
    """A file below a place. The stamp changes when the file does: time of change in ns, or the ETag of an object."""

    name: str
    size: int
    stamp: str


@dataclass(frozen=True)
class Location:
    """Bytes to read: a whole file, or so many from an offset in it."""

    uri: str
    endpoint: str | None = None
    offset: int | None = None
    size: int = 0


@dataclass(frozen=True)
class Place:
    """The root of a source. Keys to a bucket come from the environment, as its libraries read them."""

    uri: str
    endpoint: str | None = None
    """Of an S3 that is not Amazon's."""

    @property
    def remote(self) -> bool:
        """True for a bucket."""
        return self.uri.startswith(S3)

    def path(self, name: str) -> str:
        """The uri of a file below."""
        return os.path.normpath(f"{self.uri}/{name}") if not self.remote else f"{self.uri.rstrip('/')}/{_tidy(name)}"

    def location(self, name: str) -> Location:
        """A file below, to be read whole."""
        return Location(self.path(name), self.endpoint)

    def exists(self, name: str = "") -> bool:
        """True if there is a file or a folder of that name. An empty prefix of a bucket counts as none."""
        return os.path.exists(self.path(name)) if not self.remote else next(self._objects(name), None) is not None

    def stat(self, name: str) -> Listed | None:
        """Size and stamp of a file; None where there is none."""
        if self.remote:
            exact = _tidy(name)
            return next((found for found in self._objects(name) if found.name == exact), None)
        try:
            stat = os.stat(self.path(name))
        except (*MISSING, PermissionError):
            return None
        return Listed(name, stat.st_size, str(stat.st_mtime_ns))

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """A file below, as a seekable binary stream. Raises DataError if it is not there or may not be read."""
        try:
            stream = self._open(name)
        except MISSING as error:
            raise DataError(
                f"there is no annotation file {self.path(name)}: name it by data.source in the experiment"
            ) from error
        except PermissionError as error:
            raise DataError(f"{self.path(name)} may not be read: give this user the right to") from error
        with stream:
            yield stream

    def files(self, folder: str) -> Iterator[Listed]:
        """Every file below a folder, in an order that is always the same, without holding the list."""
        yield from self._objects(f"{_tidy(folder)}/") if self.remote else _walk(self.path(folder), _tidy(folder))

    def tars(self, images: str) -> tuple[str, ...]:
        """The tars that `images` names: one, or all that fit a pattern. Empty where it names a folder."""
        if not images.endswith(".tar"):
            return ()
        if "*" not in images:
            return (_tidy(images),)
        folder = images.rpartition("/")[0] or "."
        pattern = _tidy(images)
        return tuple(sorted(found.name for found in self.files(folder) if fnmatchcase(found.name, pattern)))

    def _open(self, name: str) -> BinaryIO:
        if not self.remote:
            return Path(self.path(name)).open("rb")
        raw = _filesystem(self.endpoint).open(self.path(name), "rb", cache_type="readahead")
        return io.BufferedReader(raw, BUFFER)

    def _objects(self, prefix: str) -> Iterator[Listed]:
        """Objects whose key starts with the prefix, page by page, in the order of their keys."""
        bucket, _, above = self.uri.removeprefix(S3).rstrip("/").partition("/")
        above = f"{above}/" if above else ""
        wanted = prefix if prefix in ("", "./") else _tidy(prefix) + ("/" if prefix.endswith("/") else "")
        asked: dict[str, Any] = {"Bucket": bucket, "Prefix": above + wanted.removeprefix("./"), "MaxKeys": PAGE}
        while True:
            page = self._page(asked)
            for row in page.get("Contents", []):
                yield Listed(row["Key"].removeprefix(above), int(row["Size"]), str(row["ETag"]).strip('"'))
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def _page(self, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            page: dict[str, Any] = _filesystem(self.endpoint).call_s3("list_objects_v2", **asked)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise EnvironmentProblem(
                f"{self.uri} cannot be listed ({error}): set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for an S3 "
                "that is not Amazon's, LLAVAFLOW_S3_ENDPOINT"
            ) from error
        return page


def read_bytes(location: Location) -> bytes:
    """The bytes at a location. Raises FileNotFoundError and other OSErrors as the file system does."""
    if location.uri.startswith(S3):
        end = None if location.offset is None else location.offset + location.size
        data: bytes = _filesystem(location.endpoint).cat_file(location.uri, start=location.offset, end=end)
        return data
    with open(location.uri, "rb") as handle:
        if location.offset is None:
            return handle.read()
        handle.seek(location.offset)
        return handle.read(location.size)


@lru_cache(maxsize=4)
def _filesystem(endpoint: str | None) -> Any:
    """One connection a process and endpoint. No listing is remembered: another run may write meanwhile."""
    options = {"endpoint_url": endpoint} if endpoint else {}
    return fsspec.filesystem("s3", use_listings_cache=False, **options)


def _walk(path: str, name: str) -> Iterator[Listed]:
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except (*MISSING, PermissionError):
        return
    for entry in entries:
        below = f"{name}/{entry.name}" if name else entry.name
        if entry.is_dir():
            yield from _walk(entry.path, below)
        elif entry.is_file():
            stat = entry.stat()
            yield Listed(below, stat.st_size, str(stat.st_mtime_ns))


def _tidy(name: str) -> str:
    """A relative name without `.` parts and doubled slashes."""
    tidy = os.path.normpath(name) if name else ""
    return "" if tidy == "." else tidy
