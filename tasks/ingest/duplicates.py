"""Find images that were there before: of equal bytes, or with nearly the same perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.ingest.hashing import bands_of, distance
from tasks.ingest.staging import Staging

SIGNED = 1 << 63
Near = tuple[str, int]
"""What an image is near to, and in how many bits the hashes differ."""


@dataclass(frozen=True)
class Seen:
    """Images that were seen, by name. Several of them may share one staging file under different table names."""

    staging: Staging
    table: str
    bits: int | None
    """Hashes that differ in so many bits or fewer are near; None: nothing is."""

    def create(self) -> Seen:
        """Make the tables."""
        self.staging.create(f"CREATE TABLE {self.table}_exact (sha TEXT PRIMARY KEY, name TEXT) WITHOUT ROWID")
        self.staging.create(
            f"CREATE TABLE {self.table}_near (band INTEGER, value INTEGER, hash INTEGER, name TEXT, "
            "PRIMARY KEY (band, value, hash)) WITHOUT ROWID"
        )
        return self

    def add(self, name: str, sha256: str, phash: str | None) -> None:
        """Remember an image; of those with equal bytes, or equal hashes, the first."""
        self.staging.put(f"INSERT OR IGNORE INTO {self.table}_exact VALUES (?, ?)", sha256[:32], name)
        if phash is None or self.bits is None:
            return
        number = int(phash, 16)
        for band, value in enumerate(bands_of(number, self.bits)):
            self.staging.put(
                f"INSERT OR IGNORE INTO {self.table}_near VALUES (?, ?, ?, ?)", band, value, number - SIGNED, name
            )

    def exact(self, sha256: str) -> str | None:
        """The image of these bytes."""
        row = self.staging.first(f"SELECT name FROM {self.table}_exact WHERE sha = ?", sha256[:32])
        return None if row is None else str(row[0])

    def near(self, phash: str | None) -> Near | None:
        """The nearest image within `bits`; of several, the one whose name comes first."""
        if phash is None or self.bits is None:
            return None
        number, found = int(phash, 16), set[tuple[int, str]]()
        for band, value in enumerate(bands_of(number, self.bits)):
            query = f"SELECT hash, name FROM {self.table}_near WHERE band = ? AND value = ?"
            for other, name in self.staging.rows(query, band, value):
                if (apart := distance(number, other + SIGNED)) <= self.bits:
                    found.add((apart, name))
        if not found:
            return None
        apart, name = min(found)
        return name, apart
