"""Images of a benchmark: find them, see that they can be read before a model is asked, keep a copy for the report."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from tasks.errors import DataError

FOLDER = "images"


def first_there(candidates: Sequence[Path]) -> Path | None:
    """The first of several places at which a file lies."""
    return next((path for path in candidates if path.is_file()), None)


def check_readable(path: Path, owner: str) -> None:
    """Decode an image once. Raises DataError naming it and the question it belongs to."""
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path} of {owner} cannot be read ({error}); replace it or the question") from error


def keep(path: Path, folder: Path, benchmark: str, name: str) -> str:
    """Copy an image into the report's folder; returns its name there, relative to the folder."""
    relative = f"{FOLDER}/{benchmark}/{name.replace('/', '__')}"
    target = folder / relative
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return relative
