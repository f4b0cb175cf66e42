"""What earlier builds found in images, so that a new version of a data set decodes only what is new or changed.

A file is known by its uri, size and stamp (time of change, or ETag), and by the limits it was held against. The cache
only saves time: a build without it, or with an old one, gives the same set.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from configs.schema import ImageLimits
from tasks.artifacts import digest_of
from tasks.ingest.files import Found
from tasks.ingest.images import Decoded, Facts
from tasks.ingest.records import Quarantined

BATCH = 256
PATIENCE_SECONDS = 60.0
VERSION = 1
"""To be raised when decoding finds something else in the same bytes."""
FORGOTTEN = frozenset({"image file missing", "image file may not be read"})
"""What may be another matter the next time without the file having changed."""


class Known:
    """The cache, in one SQLite file that several builds may use at a time; without a path it knows nothing."""

    def __init__(self, path: Path | None, limits: ImageLimits) -> None:
        bounds = limits.model_dump(include={"max_bytes", "max_pixels", "min_side"})
        self._limits = digest_of([VERSION, bounds])[:16]
        self._new: list[tuple[str, str, str]] = []
        self._connection: sqlite3.Connection | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=PATIENCE_SECONDS, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS decoded (file TEXT, limits TEXT, outcome TEXT, "
                "PRIMARY KEY (file, limits)) WITHOUT ROWID"
            )

    def __enter__(self) -> Known:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._flush()
            self._connection.close()

    def look_up(self, found: Found) -> Facts | Quarantined | None:
        """What was found in a file before; None if it was never looked at, or has changed."""
        if self._connection is None:
            return None
        query = "SELECT outcome FROM decoded WHERE file = ? AND limits = ?"
        row = self._connection.execute(query, (found.key, self._limits)).fetchone()
        if row is None:
            return None
        outcome = json.loads(row[0])
        return Quarantined(**outcome) if "reason" in outcome else Facts(**outcome)

    def learn(self, found: Found, outcome: Decoded | Quarantined) -> None:
        """Keep what was found."""
        if self._connection is None or (isinstance(outcome, Quarantined) and outcome.reason in FORGOTTEN):
            return
        kept = asdict(outcome if isinstance(outcome, Quarantined) else outcome.facts)
        self._new.append((found.key, self._limits, json.dumps(kept)))
        if len(self._new) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._connection is not None and self._new:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("INSERT OR REPLACE INTO decoded VALUES (?, ?, ?)", self._new)
            self._connection.execute("COMMIT")
            self._new.clear()
