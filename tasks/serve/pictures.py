"""An image file from outside as upright RGB pixels, or a refusal that says why not.

Looked at with suspicion: only formats that photos come in, the header's size before anything is decoded, one frame.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

from configs.serve import Limits
from tasks.serve.asked import Picture
from tasks.serve.failures import Refusal, bad

TYPES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/jpg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
FORMATS = tuple(sorted(set(TYPES.values())))
DATA = re.compile(r"data:(?P<type>[a-z0-9.+/-]*)(?P<parameters>(;[a-z0-9=_-]+)*);base64,", re.IGNORECASE)
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, struct.error, zlib.error, OverflowError)
"""What Pillow raises over files that are not what they say."""
BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
SIXTEEN_BITS = 257
"""65535 / 255: from sixteen bits a channel to eight."""


def is_data(url: str) -> bool:
    """It holds the image itself."""
    return url[:5].lower() == "data:"


def read_data(url: str, limits: Limits, where: str) -> Picture:
    """The image of a data URI; `where` names the field. Raises Refusal."""
    head = DATA.match(url[:200])
    if head is None:
        raise bad("invalid_image_url", "a data URI must read data:image/...;base64,...", where)
    if len(url) - head.end() > limits.image_bytes * 4 // 3 + 4:
        raise _too_large(limits, where)
    try:
        octets = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad("invalid_base64", "the image is no valid base64: it may be cut off", where) from error
    return read_image(octets, head["type"].lower(), limits, where)


def read_image(octets: bytes, kind: str, limits: Limits, where: str) -> Picture:
    """The image of a file that is said to be of type `kind` ("image/png"). Raises Refusal."""
    if kind not in TYPES:
        raise bad(
            "unsupported_image_type",
            f"images must be {', '.join(sorted(TYPES))}; this one is {kind[:60] or 'untyped'}", where,
        )
    if len(octets) > limits.image_bytes:
        raise _too_large(limits, where)
    try:
        with Image.open(io.BytesIO(octets), formats=FORMATS) as image:
            _check(image, TYPES[kind], limits, where)
            rgb = upright_rgb(image)
    except BOMB as error:
        raise _too_many_pixels(limits, where) from error
    except BROKEN as error:
        raise bad("invalid_image", "the image cannot be decoded: it is cut off, or no image", where) from error
    raw = rgb.tobytes()
    digest = hashlib.sha256(f"{rgb.width}x{rgb.height}:".encode() + raw).hexdigest()
    return Picture(rgb.width, rgb.height, raw, digest)


def upright_rgb(image: Image.Image) -> Image.Image:
    """The image as a person sees it: turned as its EXIF says, in eight-bit RGB, whatever it is stored as."""
    image.load()
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        # Pillow would clip sixteen bits to eight, and show nearly all as white.
        deep = np.asarray(upright).astype(np.int64)
        return Image.fromarray((deep.clip(0, 65535) // SIXTEEN_BITS).astype(np.uint8)).convert("RGB")
    return upright.convert("RGB")


def _check(image: Image.Image, said: str, limits: Limits, where: str) -> None:
    """What the header tells. Nothing is decoded yet."""
    if image.format != said:
        raise bad("wrong_image_type", f"the image is said to be {said}, and is {image.format}", where)
    if image.width * image.height > limits.image_pixels:
        raise _too_many_pixels(limits, where)
    if min(image.size) < 1:
        raise bad("invalid_image", "the image has no pixels", where)
    if getattr(image, "n_frames", 1) > 1:
        raise bad("animated_image", "the image is animated; send one frame of it", where)


def _too_many_pixels(limits: Limits, where: str) -> Refusal:
    return bad("image_too_large", f"the image has more than the {limits.image_pixels:,} pixels that are allowed", where)


def _too_large(limits: Limits, where: str) -> Refusal:
    return bad("image_too_large", f"the image file is larger than the {limits.image_bytes:,} bytes allowed", where)


def read_unnamed(octets: bytes, limits: Limits) -> Picture:
    """An image file of ours, whatever its type. Raises Refusal."""
    kind = next((kind for kind, name in TYPES.items() if name == _format_of(octets)), "")
    return read_image(octets, kind, limits, "image")


def _format_of(octets: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(octets), formats=FORMATS) as image:
            return image.format
    except (*BROKEN, *BOMB):
        return None
