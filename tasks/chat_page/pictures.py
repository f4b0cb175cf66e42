"""An uploaded image, checked before it is decoded, turned upright, and stripped of what it tells beside its pixels."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

from tasks.feedback.store import Picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "MPO")
QUALITY = 95
TELLING = ("exif", "xmp", "XML:com.adobe.xmp", "comment", "photoshop", "Description", "Comment", "Author", "Software")
"""Metadata: place and time of a photo, its camera, its author."""
ERRORS = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error)
"""What Pillow's decoders raise on broken files."""


@dataclass(frozen=True)
class Limits:
    """What the page takes."""

    megabytes: int = 20
    megapixels: int = 40
    images: int = 8
    """In one conversation."""


class Refused(Exception):
    """An upload that cannot be used: `key` and `values` of the words that say so."""

    def __init__(self, key: Literal["not_an_image", "too_many_pixels", "too_large"], **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def take_in(path: Path, limits: Limits) -> Picture:
    """The image of a file: a JPEG or PNG that is upright and has no metadata is kept byte for byte.

    Of an animation the first frame is taken; CMYK, 16 bits and palettes become RGB or RGBA. Raises Refused.
    """
    size = path.stat().st_size
    if size > limits.megabytes * 1_000_000:
        raise Refused("too_large", name=path.name, size=f"{size / 1e6:.0f}", limit=limits.megabytes)
    data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # The bound on pixels is our own, below, and comes before anything is decoded.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check(image, path.name, limits)
                return _clean(image, data)
    except Image.DecompressionBombError as error:
        raise Refused("too_many_pixels", name=path.name, pixels="> 178", limit=limits.megapixels) from error
    except ERRORS as error:
        raise Refused("not_an_image", name=path.name) from error


def _check(image: Image.Image, name: str, limits: Limits) -> None:
    pixels = image.width * image.height
    if pixels > limits.megapixels * 1_000_000:
        raise Refused("too_many_pixels", name=name, pixels=f"{pixels / 1e6:.0f}", limit=limits.megapixels)


def _clean(image: Image.Image, data: bytes) -> Picture:
    suffix = "jpg" if image.format in ("JPEG", "MPO") else "png"
    image.load()
    telling = any(name in image.info for name in TELLING) or image.format not in ("JPEG", "PNG")
    if not telling and image.mode in ("RGB", "L", "RGBA", "P", "LA"):
        return _picture(data, suffix)
    upright = ImageOps.exif_transpose(image)
    plain = _eight_bits(upright)
    bare = Image.new(plain.mode, plain.size)
    bare.paste(plain)
    buffer = io.BytesIO()
    if suffix == "jpg":
        bare.convert("RGB").save(buffer, "JPEG", quality=QUALITY)
    else:
        bare.save(buffer, "PNG")
    return _picture(buffer.getvalue(), suffix)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # 16-bit greys: Pillow's own conversion cuts them off at 255 instead of scaling them.
        _, high = image.getextrema()
        top = 65535.0 if isinstance(high, int | float) and high > 255 else 255.0
        return image.convert("F").point(lambda value: value * (255.0 / top) + 0.0).convert("L")
    transparent = "transparency" in image.info or "A" in image.mode
    return image.convert("RGBA" if transparent else "RGB")


def _picture(data: bytes, suffix: str) -> Picture:
    return Picture(hashlib.sha256(data).hexdigest(), suffix, data)


class Uploads:
    """The images that people sent, in a folder, named by their sha256, so that a conversation can name them by it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, picture: Picture) -> Path:
        """Write an image, once. Returns where it lies."""
        path = self.folder / f"{picture.sha256}.{picture.suffix}"
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            half = path.with_name(f".{path.name}")
            half.write_bytes(picture.data)
            half.replace(path)
        return path

    def path(self, sha256: str) -> Path | None:
        """Where an image lies; None if it is not there. Nothing but a digest is looked for: it comes from a browser."""
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            return None
        return next((path for path in self._paths(sha256) if path.is_file()), None)

    def picture(self, sha256: str) -> Picture | None:
        """An image; None if it is not there."""
        path = self.path(sha256)
        return None if path is None else Picture(sha256, path.suffix.removeprefix("."), path.read_bytes())

    def remove(self, sha256: str) -> None:
        """Remove an image, if it is there."""
        for path in self._paths(sha256):
            path.unlink(missing_ok=True)

    def remove_before(self, seconds: float) -> int:
        """Remove images last written before a time (seconds since the epoch). Returns how many."""
        old = [path for path in self.folder.glob("*.*") if path.stat().st_mtime < seconds]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _paths(self, sha256: str) -> list[Path]:
        return [self.folder / f"{sha256}.{suffix}" for suffix in ("jpg", "png")]
