"""Decode one image, within bounds that are checked before anything is decoded."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from configs.schema import ImageLimits
from tasks.errors import EnvironmentProblem
from tasks.ingest.hashing import perceptual_hash
from tasks.ingest.places import MISSING, S3, Location, read_bytes
from tasks.ingest.records import Quarantined, Reason

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
KEPT_SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Formats whose files are kept byte for byte; MPO is the JPEG with a second picture that phones write."""
REWRITTEN_QUALITY = 95
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error,
)
"""What Pillow's decoders raise on broken files."""


@dataclass(frozen=True)
class Facts:
    """What decoding an image told: all that is remembered of it from one build to the next."""

    width: int
    height: int
    """Of the image as it is written."""
    format: str
    """jpg or png."""
    sha256: str
    """Of the bytes as they are written."""
    phash: str | None
    kept: bool
    """Whether they are written as they came."""


@dataclass(frozen=True)
class Job:
    """An image to decode. `known` is what an earlier build found in the same bytes."""

    id: str
    name: str
    """Of its file, for messages."""
    location: Location
    size: int
    known: Facts | Quarantined | None = None


@dataclass(frozen=True)
class Decoded:
    """An image that can be used, and its bytes as they are to be written."""

    id: str
    facts: Facts
    data: bytes
    fresh: bool = True
    """Whether it was decoded now."""


class _Refused(Exception):
    """An image that is not decoded."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def decode(job: Job, limits: ImageLimits) -> Decoded | Quarantined:
    """Decode one image within the limits.

    JPEG and PNG files are written as they came. Other formats become PNG, and an image that its EXIF entry turns is
    written turned, so that whoever reads it needs to know nothing of EXIF. What is known is taken on trust if the
    bytes still have its digest, and costs no decoding. Raises EnvironmentProblem if a bucket does not answer.
    """
    if isinstance(job.known, Quarantined):
        return Quarantined(job.id, job.known.reason, job.known.detail)
    short = job.name.rpartition("/")[2]
    try:
        if job.size > limits.max_bytes:
            raise _Refused("too many bytes", f"{job.size} bytes, {limits.max_bytes} allowed")
        data = _read(job.location, short)
        if job.known and job.known.kept and hashlib.sha256(data).hexdigest() == job.known.sha256:
            return Decoded(job.id, job.known, data, fresh=False)
        return Decoded(job.id, *_decoded(data, limits))
    except _Refused as error:
        return Quarantined(job.id, error.reason, error.detail)
    except Image.DecompressionBombError as error:
        return Quarantined(job.id, "too many pixels", str(error))
    except UnidentifiedImageError:
        # Its own message holds a memory address, which would differ from run to run.
        return Quarantined(job.id, "unreadable image", f"{short}: no {', '.join(FORMATS)} file")
    except DECODE_ERRORS as error:
        return Quarantined(job.id, "unreadable image", f"{short}: {error}"[:200])


def _read(location: Location, short: str) -> bytes:
    try:
        return read_bytes(location)
    except MISSING as error:
        raise _Refused("image file missing", short) from error
    except OSError as error:
        if location.uri.startswith(S3):
            # No fault of the image: what is served again tomorrow must not be missing from the set today.
            raise EnvironmentProblem(f"{location.uri} cannot be read ({error}); try again when it can") from error
        raise _Refused("image file may not be read", f"{short}: {error.strerror}") from error


def _decoded(data: bytes, limits: ImageLimits) -> tuple[Facts, bytes]:
    with warnings.catch_warnings():
        # Pillow warns by a bound of its own; ours is checked here, before pixels are decoded.
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_bounds(image.size, limits)
            image.load()
            upright, written, kind = _as_written(image, data)
            kept = written is data
            sha256 = hashlib.sha256(written).hexdigest()
            width, height = upright.size
            return Facts(width, height, kind, sha256, perceptual_hash(upright), kept), written


def _check_bounds(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _Refused("too many pixels", f"{width} x {height}, {limits.max_pixels} allowed")
    if min(size) < limits.min_side:
        raise _Refused("too small", f"{width} x {height}, {limits.min_side} needed")


def _as_written(image: Image.Image, data: bytes) -> tuple[Image.Image, bytes, str]:
    """The upright image, the bytes to write, and their format."""
    kind = KEPT_SUFFIXES.get(str(image.format))
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    if kind and not turned:
        return image, data, kind
    upright = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    if kind == "jpg":
        upright.save(buffer, "JPEG", quality=REWRITTEN_QUALITY)
    else:
        upright.save(buffer, "PNG")
    return upright, buffer.getvalue(), kind or "png"
