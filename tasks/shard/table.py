"""The samples of a shard set before they are shards: their records in one file, the rest in a SQLite table beside it.

A million samples do not fit into memory, so they are gathered on disk, sorted there by the place of their image
(`tasks.shard.partition`), and read back shard by shard, by as many processes as write.
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.records import Sample
from tasks.errors import DataError
from tasks.shard.partition import is_held_out, place_of

TABLE, RECORDS = "samples.db", "samples.jsonl"
BATCH = 1000
"""Rows that wait in memory."""

_TABLES = """
CREATE TABLE image (
    id TEXT PRIMARY KEY, file TEXT, start INTEGER, size INTEGER, format TEXT, sha256 BLOB, place INTEGER, held INTEGER
) WITHOUT ROWID;
CREATE TABLE sample (
    stage TEXT, id TEXT, rank BLOB, kind TEXT, image TEXT, start INTEGER, size INTEGER, sha256 BLOB, place INTEGER,
    held INTEGER
);
CREATE TABLE further (
    stage TEXT, id TEXT, number INTEGER, image TEXT, PRIMARY KEY (stage, id, number)
) WITHOUT ROWID;
"""
_ADD_IMAGE = "INSERT OR IGNORE INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_SAMPLE = "INSERT INTO sample VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_ADD_FURTHER = "INSERT OR IGNORE INTO further VALUES (?, ?, ?, ?)"
# One row a sample in the order of shards; a shard is a range of row numbers. `bytes` are those in a tar: a header and
# whole blocks a member. A sample of several images lies where the first of them does, and is held out if any is.
_SORTED = """
CREATE TABLE sorted AS SELECT
    s.stage AS stage, {held} AS held, coalesce(i.place, s.place) AS place, s.rank AS rank, s.id AS id,
    s.kind AS kind, s.start AS start, s.size AS size, s.sha256 AS sha256, i.file AS image_file,
    i.start AS image_start, i.size AS image_size, i.format AS format, i.sha256 AS image_sha256,
    512 + (s.size + 511) / 512 * 512 + coalesce(512 + (i.size + 511) / 512 * 512, 0) + coalesce(m.bytes, 0) AS bytes
FROM sample s LEFT JOIN image i ON s.image = i.id LEFT JOIN (
    SELECT f.stage AS stage, f.id AS id, max(j.held) AS held, sum(512 + (j.size + 511) / 512 * 512) AS bytes
    FROM further f JOIN image j ON f.image = j.id GROUP BY f.stage, f.id
) m ON m.stage = s.stage AND m.id = s.id
ORDER BY s.stage, held, coalesce(i.place, s.place), s.rank, s.id
"""
_HELD = "max(coalesce(i.held, s.held), coalesce(m.held, 0))"
_UNKNOWN_IMAGE = """
SELECT s.id, s.image FROM sample s LEFT JOIN image i ON s.image = i.id
WHERE s.image IS NOT NULL AND i.id IS NULL
UNION SELECT f.id, f.image FROM further f LEFT JOIN image i ON f.image = i.id WHERE i.id IS NULL ORDER BY 1 LIMIT 1
"""
_USED_TWICE = "SELECT id FROM sample GROUP BY stage, rank, id HAVING count(*) > 1 ORDER BY id LIMIT 1"
_UNTRAINED = "SELECT stage FROM sorted GROUP BY stage HAVING min(held) = 1"
_ROWS = """
SELECT id, start, size, sha256, image_file, image_start, image_size, format, image_sha256 FROM sorted
WHERE rowid BETWEEN ? AND ? ORDER BY rank, id
"""
_FURTHER = """
SELECT f.id, i.file, i.start, i.size, i.format, i.sha256 FROM sorted s
JOIN further f ON f.stage = s.stage AND f.id = s.id JOIN image i ON f.image = i.id
WHERE s.rowid BETWEEN ? AND ? ORDER BY f.id, f.number
"""


class StoredImage(NamedTuple):
    """An encoded image and where it lies: a file relative to the ImageSet's folder, and the first byte in it.

    Without a first byte the image is the whole file.
    """

    id: str
    file: str
    start: int | None
    size: int
    format: Literal["jpg", "png"]
    sha256: bytes


class Further(NamedTuple):
    """A further image of a sample, as in `Row`."""

    image_file: str
    image_start: int | None
    image_size: int
    format: str
    image_sha256: bytes


class Row(NamedTuple):
    """A sample as it is written: where its record lies (`start`, `size` in the file of records), and its images."""

    id: str
    start: int
    size: int
    sha256: bytes
    image_file: str | None
    image_start: int | None
    image_size: int
    format: str
    image_sha256: bytes
    more: tuple[Further, ...] = ()


@dataclass(frozen=True)
class Group:
    """Samples of one stage that are all trained on, or all held out. `first` is the row number of the first."""

    stage: str
    held_out: bool
    first: int
    places: NDArray[np.int64]
    sizes: NDArray[np.int64]


class SampleTable:
    """Gathers samples and images in a folder of its own, and sorts them. See the module."""

    def __init__(self, folder: Path, held_out: float) -> None:
        folder.mkdir(parents=True)
        self._share = held_out
        self._records = (folder / RECORDS).open("wb", buffering=1 << 20)
        self._end = self.samples = 0
        self._images: list[tuple[object, ...]] = []
        self._samples: list[tuple[object, ...]] = []
        self._further: list[tuple[object, ...]] = []
        with _disk_full_told():
            self._db = _connect(folder / TABLE)
            self._db.executescript(_TABLES)

    def add_image(self, image: StoredImage) -> None:
        """An image that samples may name."""
        place, held = place_of(image.sha256), is_held_out(image.sha256, self._share)
        self._images.append((*image, place, held))
        if len(self._images) >= BATCH:
            self._flush()

    def add_sample(self, stage: str, sample: Sample) -> None:
        """A sample of a stage ("align", "instruct")."""
        record, name = sample.line().encode(), hashlib.sha256(sample.id.encode()).digest()
        # What has no image is placed, and held out, by its id.
        place, held = (place_of(name), is_held_out(name, self._share)) if sample.image is None else (None, None)
        self._records.write(record)
        digest = hashlib.sha256(record).digest()
        row = (stage, sample.id, name, sample.kind, sample.image, self._end, len(record), digest, place, held)
        self._samples.append(row)
        self._further += [(stage, sample.id, at, image) for at, image in enumerate(sample.images[1:], 1)]
        self._end += len(record)
        self.samples += 1
        if len(self._samples) >= BATCH:
            self._flush()

    def sort(self) -> bool:
        """Check and sort what was gathered; returns whether images are held out as wished.

        Where that would leave a stage without a sample to train on (a tiny set), none are. Raises DataError for an
        id that is used twice in a stage, and for a sample whose image is not there.
        """
        self._flush()
        self._records.close()
        with _disk_full_told():
            for name, image in self._db.execute(_UNKNOWN_IMAGE):
                raise DataError(f"sample {name} names image {image}, which the image set does not hold")
            for (name,) in self._db.execute(_USED_TWICE):
                raise DataError(f"two samples have the id {name}; ids must be unique")
            self._db.execute(_SORTED.format(held=_HELD))
            as_wished = self._db.execute(_UNTRAINED).fetchone() is None
            if not as_wished:
                self._db.execute("DROP TABLE sorted")
                self._db.execute(_SORTED.format(held="0"))
            self._db.commit()
        return as_wished

    def groups(self) -> Iterator[Group]:
        """Training samples and those held out, a stage after the other."""
        counted = "SELECT stage, held, count(*), min(rowid) FROM sorted GROUP BY held, stage ORDER BY held, stage"
        for stage, held, count, first in self._db.execute(counted).fetchall():
            places, sizes = (self._column(name, first, count) for name in ("place", "bytes"))
            yield Group(stage, bool(held), first, places, sizes)

    def kinds(self, stage: str) -> dict[str, int]:
        """How many samples of each kind a stage trains on."""
        counted = "SELECT kind, count(*) FROM sorted WHERE stage = ? AND held = 0 GROUP BY kind ORDER BY kind"
        return dict(self._db.execute(counted, (stage,)).fetchall())

    def close(self) -> None:
        """Close the files."""
        self._db.close()
        self._records.close()

    def _column(self, name: str, first: int, count: int) -> NDArray[np.int64]:
        rows = self._db.execute(
            f"SELECT {name} FROM sorted WHERE rowid BETWEEN ? AND ? ORDER BY rowid", (first, first + count - 1)
        )
        return np.fromiter((value for (value,) in rows), dtype=np.int64, count=count)

    def _flush(self) -> None:
        with _disk_full_told():
            if self._db.executemany(_ADD_IMAGE, self._images).rowcount < len(self._images):
                self._check_images()
            self._db.executemany(_ADD_SAMPLE, self._samples)
            self._db.executemany(_ADD_FURTHER, self._further)
        self._images.clear()
        self._further.clear()
        self._samples.clear()

    def _check_images(self) -> None:
        """Some ids were there already, which is well as long as they name the same bytes."""
        for name, *_, digest, _, _ in self._images:
            if self._db.execute("SELECT sha256 FROM image WHERE id = ?", (name,)).fetchone() != (digest,):
                raise DataError(f"two images have the id {name}; ids must be unique")


class Rows:
    """The sorted rows of a finished table, for a process that writes shards."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(f"file:{folder / TABLE}?mode=ro&immutable=1", uri=True)

    def between(self, first: int, last: int) -> list[Row]:
        """The samples of the rows `first` .. `last`, in the order they have in a shard: by a hash of their ids.

        So each shard holds all kinds.
        """
        further: dict[str, tuple[Further, ...]] = {}
        for name, *image in self._db.execute(_FURTHER, (first, last)):
            further[name] = (*further.get(name, ()), Further(*image))
        rows = (Row(*row) for row in self._db.execute(_ROWS, (first, last)))
        return [row._replace(more=further.get(row.id, ())) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, check_same_thread=False)
    # What is in here is made anew after a crash: nothing has to be durable.
    db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")
    return db


@contextmanager
def _disk_full_told() -> Iterator[None]:
    """SQLite's own word for a full disk becomes the system's."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise OSError(errno.ENOSPC, str(error)) from error
        raise
