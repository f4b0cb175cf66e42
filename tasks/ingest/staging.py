"""What a build keeps on disk while it works, in one SQLite file: memory does not grow with the data set.

Sources list images here in whatever order they have them; they are read back in the order of their ids. Nothing in it
outlives the build, so nothing is made durable.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.ingest.records import RawBox, RawImage

CACHE_KIB = 4096
SETTINGS = (
    "PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "PRAGMA temp_store=FILE",
    f"PRAGMA cache_size=-{CACHE_KIB}",
)
SCHEMA = (
    # One row an image and source; given: whether samples or questions use it.
    """CREATE TABLE candidate (id TEXT, source INTEGER, name TEXT, given INTEGER, captions TEXT, boxes TEXT,
    width REAL, height REAL, PRIMARY KEY (id, source, name)) WITHOUT ROWID""",
    # Where a candidate ended: the id of an image, or (final null) why it was left out.
    """CREATE TABLE placed (source INTEGER, name TEXT, final TEXT, reason TEXT, PRIMARY KEY (source, name))
    WITHOUT ROWID""",
    "CREATE TABLE quarantine (id TEXT, reason TEXT, detail TEXT, number INTEGER, PRIMARY KEY (id, reason, detail, number)) WITHOUT ROWID",  # noqa: E501
)


@dataclass(frozen=True)
class Candidate:
    """An image that a source lists, to be decoded."""

    source: int
    """Its place among `data.sources`."""
    raw: RawImage
    given: bool
    """Whether a given sample or question uses it."""


class Staging:
    """The file, and the list of images in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Autocommit off by hand: one transaction that is never committed spills to disk and is thrown away.
        self._connection = sqlite3.connect(path, isolation_level=None)
        for statement in (*SETTINGS, *SCHEMA, "BEGIN"):
            self._connection.execute(statement)

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._path.unlink(missing_ok=True)

    def create(self, statement: str) -> None:
        """Make a table that only one part of the stage uses."""
        self._connection.execute(statement)

    def put(self, statement: str, *values: Any) -> int:
        """Run a statement; returns how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def rows(self, query: str, *values: Any) -> Iterator[Any]:
        """The rows of a query, one after the other."""
        return iter(self._connection.execute(query, values))

    def first(self, query: str, *values: Any) -> Any | None:
        """The first row of a query, or None."""
        return self._connection.execute(query, values).fetchone()

    def number(self, query: str, *values: Any) -> int:
        """The one number that a query yields."""
        row = self.first(query, *values)
        return int(row[0]) if row else 0

    # ------------------------------------------------------------------------------------------------ images

    def name_of(self, source: int, image_id: str) -> str | None:
        """The file that holds this id in a source already."""
        row = self.first("SELECT name FROM candidate WHERE id = ? AND source = ? LIMIT 1", image_id, source)
        return None if row is None else str(row[0])

    def add(self, source: int, raw: RawImage, given: bool) -> None:
        """List an image; one that its source has listed already stays as it is."""
        boxes = json.dumps([[box.category, *box.corners] for box in raw.boxes], ensure_ascii=False)
        captions = json.dumps(raw.captions, ensure_ascii=False)
        self.put(
            "INSERT OR IGNORE INTO candidate VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            raw.id, source, raw.name, given, captions, boxes, *(raw.size or (None, None)),
        )

    def candidates(self) -> Iterator[Candidate]:
        """All images by id, those of the first source first among equal ids."""
        for row in self.rows("SELECT * FROM candidate ORDER BY id, source, name"):
            image_id, source, name, given, captions, boxes, width, height = row
            found = tuple(RawBox(box[0], (box[1], box[2], box[3], box[4])) for box in json.loads(boxes))
            size = None if width is None else (width, height)
            yield Candidate(source, RawImage(image_id, name, tuple(json.loads(captions)), found, size), bool(given))

    def is_listed(self, image_id: str) -> bool:
        """Whether any source lists an image under this id."""
        return self.first("SELECT 1 FROM candidate WHERE id = ? LIMIT 1", image_id) is not None

    def count(self) -> int:
        """How many images are listed."""
        return self.number("SELECT count(*) FROM candidate")

    def place(self, candidate: Candidate, final: str | None, reason: str = "") -> None:
        """Say where an image that samples use ended."""
        if candidate.given:
            self.put(
                "INSERT OR REPLACE INTO placed VALUES (?, ?, ?, ?)", candidate.source, candidate.raw.name, final, reason
            )
