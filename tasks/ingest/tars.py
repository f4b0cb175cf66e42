"""Images that lie in tars: where each member's bytes are. Nothing is ever extracted."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.errors import DataError
from tasks.ingest.places import Place
from tasks.ingest.records import Quarantined, is_inside


@dataclass(frozen=True)
class Member:
    """A file in a tar: offset of its first byte, and its size in bytes."""

    name: str
    offset: int
    size: int


def members(place: Place, tar: str) -> Iterator[Member | Quarantined]:
    """The files of a tar in its order; what no image can be (links, devices, names that leave the tar) is quarantined.

    Raises DataError if it is no tar, is compressed, or ends in its middle.
    """
    with place.open(tar) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as opened:
                for member in opened:
                    # tarfile keeps every member that it has seen.
                    opened.members = []  # type: ignore[attr-defined]
                    if not member.isdir():
                        yield _checked(member, tar)
        except tarfile.TarError as error:
            raise DataError(
                f"{place.path(tar)} is no whole uncompressed tar ({error}): get it again, or unpack what packs it"
            ) from error


def _checked(member: tarfile.TarInfo, tar: str) -> Member | Quarantined:
    name = member.name.removeprefix("./")
    where = f"{tar}: {name}"
    if not member.isreg() or member.issparse():
        return Quarantined(where, "unsafe tar member", f"type {member.type.decode(errors='replace')}, not a plain file")
    if not is_inside(name):
        return Quarantined(where, "unsafe tar member", "its name leaves the tar")
    return Member(name, member.offset_data, member.size)
