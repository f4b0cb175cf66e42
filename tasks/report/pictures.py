"""Images inside the page: bounded in size, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image

LONGEST = 360
"""Longest side in pixels of an image in the report."""
AS_IT_IS = 40_000
"""A file of at most so many bytes that is small enough in pixels goes in unchanged."""
TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


class Picture(NamedTuple):
    """An image ready for `<img>`."""

    uri: str
    width: int
    height: int


def picture(source: Path | bytes | None, longest: int = LONGEST) -> Picture | None:
    """An image as a data URI; None where there is none or it cannot be read: a report is never lost to a picture."""
    if source is None:
        return None
    try:
        data = source.read_bytes() if isinstance(source, Path) else source
        with Image.open(io.BytesIO(data)) as image:
            if max(image.size) <= longest and image.format in TYPES and len(data) <= AS_IT_IS:
                return Picture(_uri(data, TYPES[image.format]), *image.size)
            image.draft("RGB", (longest, longest))
            small = image.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    small.thumbnail((longest, longest))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return Picture(_uri(buffer.getvalue(), "image/jpeg"), *small.size)


def _uri(data: bytes, mime: str) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
