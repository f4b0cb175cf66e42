"""What readers hand to the pipeline: what a source describes, and what of it cannot be used."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from model.questions import Problem
from model.records import Turn

LONGEST_ID = 120
Stage = Literal["align", "instruct"]
Corners = tuple[float, float, float, float]
Reason = Literal[
    "malformed entry",
    "file name outside the data folder",
    "unsafe tar member",
    "id already taken",
    "image file missing",
    "image file may not be read",
    "unreadable image",
    "too many bytes",
    "too many pixels",
    "too small",
    "size differs from its annotation",
    "annotation without its image",
    "no captions",
    "text too long",
    "box outside image",
    "degenerate box",
    "broken turn order",
    "image token without an image",
    "image tokens do not fit the images",
    "its image was left out",
    "duplicate",
    "near duplicate",
    "occurs in a test set",
    "its image occurs in a test set",
    "withdrawn",
    "its image was withdrawn",
]
HARMLESS: frozenset[Reason] = frozenset(
    {
        "duplicate", "near duplicate", "occurs in a test set", "its image occurs in a test set", "withdrawn",
        "its image was withdrawn",
    }
)
"""Reasons to leave out a record that nothing is wrong with: they do not count as bad input."""


@dataclass(frozen=True)
class RawBox:
    """A box [x1, y1, x2, y2] in the unit of its source."""

    category: str
    corners: Corners


@dataclass(frozen=True)
class RawImage:
    """An image before anyone has looked at it; `name` is its file as the source writes it.

    `size` is (width, height) as the source says, which its boxes refer to; None where boxes are normalised.
    """

    id: str
    name: str
    captions: tuple[str, ...] = ()
    boxes: tuple[RawBox, ...] = ()
    size: tuple[float, float] | None = None


@dataclass(frozen=True)
class GivenSample:
    """A conversation that a source brings; `image` is the file of its image as the source writes it, `more` are those
    of its further images."""

    id: str
    stage: Stage
    image: str | None
    turns: tuple[Turn, ...]
    """As a `model.records.Sample` wants them."""
    moved: bool
    """Whether the image token was elsewhere than at the start of the first human turn."""
    more: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[str, ...]:
        """All its images."""
        return () if self.image is None else (self.image, *self.more)


@dataclass(frozen=True)
class GivenQuestion:
    """A question that a source brings; `images` are the names that its image may have, best first."""

    pid: str
    problem: Problem
    images: tuple[str, ...]


@dataclass(frozen=True)
class Quarantined:
    """A record that is left out, and why."""

    id: str
    reason: Reason
    detail: str


def id_of(file_name: str) -> str:
    """The id of an image: its file name without suffix, folders joined by underscores.

    Other characters than letters, digits, underscore and hyphen become underscores, and a very long id ends in a
    digest: ids name files and tar members.
    """
    path = PurePosixPath(file_name)
    return _fit(str(path.with_suffix("")) if path.name else file_name, file_name)


def sample_id_of(name: str) -> str:
    """The id of a given sample, fit for a tar member: as `id_of`, but nothing is taken for a suffix."""
    return _fit(name, name)


def is_inside(file_name: str) -> bool:
    """True if a file name, joined to a folder, stays below that folder, and is text that can be shown."""
    path = PurePosixPath(file_name)
    unsafe = "\\" in file_name or not file_name.isprintable() or ".." in path.parts
    return bool(path.parts) and not unsafe and not path.is_absolute()


def _fit(text: str, whole: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    if len(name) <= LONGEST_ID:
        return name
    return f"{name[: LONGEST_ID - 17]}-{hashlib.sha256(whole.encode(errors='replace')).hexdigest()[:16]}"
