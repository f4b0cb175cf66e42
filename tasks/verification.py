"""Check a finished artifact, wherever it lies: every file against its manifest, every sample against its index.

Files are streamed, never held, and read by a few threads at once. What is wrong is named, one fault a line.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import fsspec
from pydantic import ValidationError

from tasks.artifacts import MANIFEST, FileEntry, content_digest
from tasks.errors import ArtifactError
from tasks.shards import STAGES, IndexEntry, held_out, index_file
from tasks.storage import Manifest

CHUNK = 4 << 20
THREADS = 4
AHEAD = 2 * THREADS
"""Files that are being checked or wait for it; bounds the part of an index that is in memory."""
NAMED = 5
"""Damaged samples of one shard that are named; the others are counted."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


@dataclass
class Verified:
    """What was looked at, and what is wrong with it; an artifact is whole if nothing is."""

    files: int = 0
    samples: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Span:
    """Bytes of a file that have a digest of their own."""

    what: str
    start: int
    size: int
    sha256: str


@dataclass(frozen=True)
class _Place:
    """An artifact's files as fsspec sees them, in a folder or in an object store."""

    filesystem: Any
    root: str

    def sizes(self) -> dict[str, int]:
        """Every file but the manifest, by relative path, to its size in bytes."""
        found = self.filesystem.find(self.root, detail=True)
        sizes = {path.removeprefix(f"{self.root}/"): int(info["size"]) for path, info in found.items()}
        sizes.pop(MANIFEST, None)
        return sizes

    def lines(self, path: str) -> Iterator[bytes]:
        """The lines of a file."""
        with self.filesystem.open(f"{self.root}/{path}", "rb", block_size=CHUNK) as handle:
            yield from handle

    def chunks(self, path: str) -> Iterator[bytes]:
        """The bytes of a file, in order."""
        with self.filesystem.open(f"{self.root}/{path}", "rb", block_size=CHUNK) as handle:
            while chunk := handle.read(CHUNK):
                yield chunk


def verify(uri: str, options: Mapping[str, Any] | None = None) -> Verified:
    """Check the artifact at a folder or an uri (`s3://...`); `options` are fsspec's for it.

    Raises ArtifactError where there is no artifact: no manifest, or one that cannot be read.
    """
    filesystem, root = fsspec.core.url_to_fs(uri.rstrip("/"), **(options or {}))
    place = _Place(filesystem, root)
    manifest = _manifest(place, uri)
    verified = Verified(files=len(manifest.files), bytes=sum(entry.size for entry in manifest.files.values()))
    if content_digest(manifest.files) != manifest.digest:
        verified.faults.append(Fault(MANIFEST, "was altered: its digest is not that of its table of files"))
    sizes = place.sizes()
    verified.faults += [Fault(path, "is missing") for path in sorted(manifest.files.keys() - sizes.keys())]
    verified.faults += [Fault(path, "is not of this artifact") for path in sorted(sizes.keys() - manifest.files.keys())]
    there = {path: entry for path, entry in manifest.files.items() if path in sizes}
    with ThreadPoolExecutor(THREADS) as pool:
        checks = (pool.submit(_check, place, *work) for work in _work(place, there, verified))
        for faults in _in_order(checks):
            verified.faults += faults
    return verified


def _manifest(place: _Place, uri: str) -> Manifest:
    try:
        return Manifest.model_validate_json(b"".join(place.chunks(MANIFEST)))
    except FileNotFoundError as error:
        raise ArtifactError(f"{uri} holds no {MANIFEST}: no finished artifact lies there") from error
    except ValidationError as error:
        raise ArtifactError(f"{uri}/{MANIFEST} cannot be read; run again to rebuild the artifact") from error


def _work(
    place: _Place, files: Mapping[str, FileEntry], verified: Verified
) -> Iterator[tuple[str, FileEntry, Sequence[Span]]]:
    """Every file once, with the members that an index finds in it."""
    told = set[str]()
    for stage in (*STAGES, *map(held_out, STAGES)):
        index = index_file(Path(), stage).as_posix()
        for shard, group in groupby(_index(place, index, files, verified), key=lambda entry: entry.shard):
            entries = list(group)
            verified.samples += len(entries)
            if shard in files:
                told.add(shard)
                yield shard, files[shard], [span for entry in entries for span in _spans(entry)]
            else:
                verified.faults.append(Fault(index, f"finds samples in {shard}, which is not there"))
    for path, entry in files.items():
        if path not in told:
            yield path, entry, ()


def _index(
    place: _Place, index: str, files: Mapping[str, FileEntry], verified: Verified
) -> Iterator[IndexEntry]:
    """The entries of an index up to the first that cannot be read; none where the artifact has no such index."""
    if index not in files:
        return
    for number, line in enumerate(place.lines(index), 1):
        try:
            yield IndexEntry.model_validate_json(line)
        except ValidationError:
            verified.faults.append(Fault(index, f"cannot be read from line {number} on"))
            return


def _spans(entry: IndexEntry) -> Iterator[Span]:
    further = ((f"image {at}", member) for at, member in enumerate(entry.more or (), 1))
    for what, member in (("record", entry.record), ("image", entry.image), *further):
        if member is not None:
            yield Span(f"{what} of {entry.key}", *member)


def _check(place: _Place, path: str, entry: FileEntry, spans: Sequence[Span]) -> list[Fault]:
    """What is wrong with a file: its size and digest, and the digests of the spans in it."""
    whole, size, members = hashlib.sha256(), 0, _Members(spans)
    try:
        for chunk in place.chunks(path):
            whole.update(chunk)
            members.update(chunk)
            size += len(chunk)
    except OSError as error:
        return [Fault(path, f"cannot be read ({error.strerror or error})")]
    faults = []
    if size < entry.size:
        faults.append(Fault(path, f"is cut off: {size} of {entry.size} bytes"))
    elif size > entry.size:
        faults.append(Fault(path, f"has grown: {size} bytes, {entry.size} were written"))
    elif whole.hexdigest() != entry.sha256:
        faults.append(Fault(path, "was altered"))
    wrong = members.wrong()
    faults += [Fault(path, f"holds another {what} than its index tells") for what in wrong[:NAMED]]
    if len(wrong) > NAMED:
        faults.append(Fault(path, f"and {len(wrong) - NAMED} more members are not as the index tells"))
    return faults


class _Members:
    """Digests of the spans of a file that comes chunk by chunk."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._open = sorted(spans, key=lambda span: span.start, reverse=True)
        self._at = 0
        self._digest = hashlib.sha256()
        self._wrong: list[str] = []

    def update(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        view, end = memoryview(chunk), self._at + len(chunk)
        while self._open and self._open[-1].start < end:
            span = self._open[-1]
            stop = span.start + span.size
            self._digest.update(view[max(span.start - self._at, 0) : max(stop - self._at, 0)])
            if stop > end:
                break
            self._close()
        self._at = end

    def wrong(self) -> list[str]:
        """The spans whose bytes are others, or not all there."""
        return self._wrong + [span.what for span in reversed(self._open)]

    def _close(self) -> None:
        span = self._open.pop()
        if self._digest.hexdigest() != span.sha256:
            self._wrong.append(span.what)
        self._digest = hashlib.sha256()


def _in_order(checks: Iterable[Future[list[Fault]]]) -> Iterator[list[Fault]]:
    """Results in order, with a bounded number of checks under way: `checks` starts each when it is asked for it."""
    waiting = deque[Future[list[Fault]]]()
    for check in checks:
        waiting.append(check)
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    yield from (check.result() for check in waiting)
