"""Write shards, each whole by one process, and take over those that an earlier shard set holds already.

What a shard holds is decided before (`tasks.shard.partition`), so it does not matter who writes it or when: the bytes
are the same for any number of writers, and the same whether a shard was written or taken over.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ArtifactError, DataError, EnvironmentProblem
from tasks.processes import die_with_parent
from tasks.shard.table import RECORDS, Further, Row, Rows
from tasks.shard.tars import BLOCK, LAYOUT, append, finish, key_of, padded
from tasks.shards import IndexEntry, Member, ShardEntry
from tasks.sinks import Sink
from tasks.spans import SpanReader

MAX_WRITERS = 8
WORTH_A_PROCESS = 256_000_000
"""Bytes: to start another writer for less costs more time than it saves."""


@dataclass(frozen=True)
class Shard:
    """A shard to be written: its path in the artifact and its rows in the table, `first` .. `last`."""

    path: str
    first: int
    last: int


@dataclass(frozen=True)
class Reusable:
    """A shard of an earlier shard set."""

    uri: str
    entry: ShardEntry


@dataclass(frozen=True)
class Done:
    """A shard that is in its place; `index` is a file with the lines that find its samples."""

    entry: ShardEntry
    index: Path
    without_image: int
    reused: bool


@dataclass(frozen=True)
class Sources:
    """What shards are made from and where they go; can be sent to other processes.

    `table` is the folder of a `tasks.shard.table.SampleTable`, `images` that of an ImageSet, `earlier` what may be
    taken over, by content.
    """

    table: Path
    images: Path
    sink: Sink
    earlier: Mapping[str, Reusable]


def writers_for(wanted: int | None, shards: int, size: int) -> int:
    """How many processes write: as many as wanted, else one a core where there is work enough for it."""
    sensible = min(MAX_WRITERS, os.cpu_count() or 1, 1 + size // WORTH_A_PROCESS)
    return max(1, min(wanted or sensible, shards))


def write_shards(sources: Sources, shards: Sequence[Shard], writers: int) -> Iterator[Done]:
    """Write shards, in this process or in `writers` others; yields them in their order.

    Raises ArtifactError when an image is not as it was ingested, OSError when the disk is full, and EnvironmentProblem
    when a writer dies or a remote store fails.
    """
    if writers == 1:
        with ShardWriter(sources) as writer:
            yield from map(writer.write, shards)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(writers, mp_context=spawn, initializer=_start, initargs=(sources,))
    try:
        yield from pool.map(_write, shards)
    except BrokenProcessPool as error:
        raise EnvironmentProblem(
            "a process that writes shards died, most likely for want of memory: lower shard.writers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class ShardWriter:
    """Writes shards one after the other."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._rows = Rows(sources.table)
        self._records, self._images = SpanReader(sources.table), SpanReader(sources.images)

    def write(self, shard: Shard) -> Done:
        """Write a shard, or take it over."""
        rows = self._rows.between(shard.first, shard.last)
        content = content_of(rows)
        known = self._sources.earlier.get(content)
        entry = None if known is None else self._take_over(known, shard.path)
        reused = entry is not None
        if entry is None:
            entry = self._write(shard.path, rows, content)
        index = self._sources.table / f"{shard.first}-{shard.last}.jsonl"
        index.write_text("".join(found.line() + "\n" for found in index_of(rows, shard.path)), encoding="utf-8")
        return Done(entry, index, sum(row.image_file is None for row in rows), reused)

    def close(self) -> None:
        """Close the files."""
        self._rows.close()
        self._records.close()
        self._images.close()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take_over(self, known: Reusable, path: str) -> ShardEntry | None:
        entry = known.entry.model_copy(update={"shard": path})
        return entry if self._sources.sink.adopt(path, known.uri, entry.file) else None

    def _write(self, path: str, rows: Sequence[Row], content: str) -> ShardEntry:
        with self._sources.sink.create(path) as tar:
            for row in rows:
                key = key_of(row.id)
                if row.image_file is not None:
                    append(tar, f"{key}.{row.format}", _checked(self._image(row, row), row.image_sha256, row, "image"))
                for at, more in enumerate(row.more, 1):
                    name = f"{key}.{at}.{more.format}"
                    append(tar, name, _checked(self._image(row, more), more.image_sha256, row, f"image {at}"))
                record = self._records.read(RECORDS, row.start, row.size)
                append(tar, f"{key}.json", _checked(record, row.sha256, row, "record"))
            finish(tar)
        file = tar.entry
        return ShardEntry(shard=path, content=content, samples=len(rows), size=file.size, sha256=file.sha256)

    def _image(self, row: Row, image: Row | Further) -> bytes:
        assert image.image_file is not None
        if image.image_start is not None:
            return self._images.read(image.image_file, image.image_start, image.image_size)
        try:
            return (self._sources.images / image.image_file).read_bytes()
        except OSError as error:
            raise DataError(
                f"sample {row.id}: its image {image.image_file} cannot be read ({error.strerror})"
            ) from error


def content_of(rows: Sequence[Row]) -> str:
    """Digest of what a shard is made of. Equal content in the same layout becomes equal bytes."""
    digest = hashlib.sha256(LAYOUT.encode())
    for row in rows:
        digest.update(row.sha256)
        digest.update(b"-" if row.image_file is None else row.format.encode() + row.image_sha256)
        for more in row.more:
            digest.update(b"+" + more.format.encode() + more.image_sha256)
    return digest.hexdigest()


def index_of(rows: Sequence[Row], shard: str) -> Iterator[IndexEntry]:
    """Where the samples of a shard lie in it, which follows from their sizes."""
    end = 0

    def member(size: int, digest: bytes) -> Member:
        nonlocal end
        start, end = end + BLOCK, end + BLOCK + padded(size)
        return start, size, digest.hex()

    for row in rows:
        image = None if row.image_file is None else member(row.image_size, row.image_sha256)
        more = tuple(member(one.image_size, one.image_sha256) for one in row.more) or None
        record = member(row.size, row.sha256)
        yield IndexEntry(key=key_of(row.id), shard=shard, record=record, image=image, more=more)


def _checked(data: bytes, digest: bytes, row: Row, what: str) -> bytes:
    """The bytes that are about to be written, whose digest the index will tell."""
    if hashlib.sha256(data).digest() != digest:
        raise ArtifactError(f"sample {row.id}: its {what} was altered since it was read first; run again to rebuild it")
    return data


_writers: list[ShardWriter] = []
"""The writer of this process, where it is one of a pool."""


def _start(sources: Sources) -> None:
    die_with_parent()
    _writers.append(ShardWriter(sources))


def _write(shard: Shard) -> Done:
    return _writers[0].write(shard)
