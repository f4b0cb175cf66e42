"""Where the images of every source lie: files of a folder, objects of a bucket, members of tars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.errors import DataError
from tasks.ingest.places import Location, Place
from tasks.ingest.quarantine import Quarantine
from tasks.ingest.records import Quarantined
from tasks.ingest.staging import Staging
from tasks.ingest.tars import members

SCHEMA = """CREATE TABLE IF NOT EXISTS file (source INTEGER, name TEXT, within TEXT, start INTEGER, size INTEGER,
stamp TEXT, PRIMARY KEY (source, name)) WITHOUT ROWID"""


@dataclass(frozen=True)
class Found:
    """An image file: where its bytes are, how many, and a stamp that changes when they do."""

    location: Location
    size: int
    stamp: str

    @property
    def key(self) -> str:
        """Names these bytes among all that were ever decoded."""
        at = "" if self.location.offset is None else f"#{self.location.offset}"
        return f"{self.location.uri}{at}\0{self.size}\0{self.stamp}"


class ImageFiles:
    """The images of one source. A local folder is asked file by file; what costs a request is listed once."""

    def __init__(self, number: int, place: Place, images: str, staging: Staging, quarantine: Quarantine) -> None:
        self._number, self._place, self._images, self._staging = number, place, images, staging
        staging.create(SCHEMA)
        self._tars = place.tars(images)
        self._listed = bool(self._tars) or place.remote
        if self._tars:
            for tar in self._tars:
                self._index(tar, quarantine)
        elif images.endswith(".tar") or not self._is_folder():
            raise DataError(
                f"there is no folder of images {place.path(images)}: name it by data.source.images in the experiment"
            )
        elif place.remote:
            self._list()

    def find(self, name: str) -> Found | None:
        """The file of an image; None where there is none."""
        if not self._listed:
            found = self._place.stat(f"{self._images}/{name}")
            if found is None or Path(self._place.path(found.name)).is_dir():
                return None
            return Found(self._place.location(found.name), found.size, found.stamp)
        query = "SELECT within, start, size, stamp FROM file WHERE source = ? AND name = ?"
        row = self._staging.first(query, self._number, name.removeprefix("./"))
        if row is None:
            return None
        within, start, size, stamp = row
        location = self._place.location(within)
        if start is not None:
            location = Location(location.uri, location.endpoint, start, size)
        return Found(location, size, stamp)

    def _is_folder(self) -> bool:
        if self._place.remote:
            return self._place.exists(f"{self._images}/")
        return Path(self._place.path(self._images)).is_dir()

    def _index(self, tar: str, quarantine: Quarantine) -> None:
        stat = self._place.stat(tar)
        if stat is None:
            raise DataError(
                f"there is no tar of images {self._place.path(tar)}: name it by data.source.images in the experiment"
            )
        for member in members(self._place, tar):
            if isinstance(member, Quarantined):
                quarantine.add(member)
            elif not self._add(member.name, tar, member.offset, member.size, f"{stat.size} {stat.stamp}"):
                where = f"{tar}: {member.name}"
                quarantine.add(Quarantined(where, "id already taken", "a member before has this name"))

    def _list(self) -> None:
        above = f"{self._images.strip('/')}/".removeprefix("./")
        for found in self._place.files(self._images):
            self._add(found.name.removeprefix(above), found.name, None, found.size, found.stamp)

    def _add(self, name: str, within: str, start: int | None, size: int, stamp: str) -> bool:
        values = (self._number, name, within, start, size, stamp)
        return self._staging.put("INSERT OR IGNORE INTO file VALUES (?, ?, ?, ?, ?, ?)", *values) == 1
