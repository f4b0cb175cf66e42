"""What readers hand to the pipeline: raw images as the source describes them, and what of it cannot be used."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

LONGEST_ID = 120
Corners = tuple[float, float, float, float]
Reason = Literal[
    "malformed entry",
    "file name outside the data folder",
    "id already taken",
    "image file missing",
    "unreadable image",
    "too many bytes",
    "too many pixels",
    "too small",
    "size differs from its annotation",
    "annotation without its image",
    "no captions",
    "box outside image",
    "degenerate box",
    "duplicate",
]


@dataclass(frozen=True)
class RawBox:
    """A box [x1, y1, x2, y2] in the unit of its source."""

    category: str
    corners: Corners


@dataclass(frozen=True)
class RawImage:
    """An image before anyone has looked at it: file `name` below `folder`, the name as the source writes it.

    `size` is (width, height) as the source says, which its boxes refer to; None where boxes are normalised.
    """

    id: str
    folder: Path
    name: str
    captions: tuple[str, ...]
    boxes: tuple[RawBox, ...] = ()
    size: tuple[float, float] | None = None


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
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(path.with_suffix("")) if path.name else file_name)
    if len(name) <= LONGEST_ID:
        return name
    return f"{name[: LONGEST_ID - 17]}-{hashlib.sha256(file_name.encode()).hexdigest()[:16]}"


def is_inside(file_name: str) -> bool:
    """True if a file name, joined to a folder, stays below that folder."""
    path = PurePosixPath(file_name)
    unsafe = "\\" in file_name or "\0" in file_name or ".." in path.parts
    return bool(path.parts) and not unsafe and not path.is_absolute()


def clean_captions(captions: list[str]) -> tuple[str, ...]:
    """Captions on one line each, without empty ones."""
    return tuple(text for caption in captions if (text := " ".join(caption.split())))
