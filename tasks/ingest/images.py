"""Decode images once, in worker processes, within bounds that are checked before anything is decoded."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from configs.schema import ImageLimits
from tasks.errors import EnvironmentProblem
from tasks.ingest.records import Quarantined

FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
KEPT_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "PNG": ".png"}
"""Formats whose files are kept byte for byte; MPO is the JPEG with a second picture that phones write."""
REWRITTEN_QUALITY = 95
PARALLEL_FROM = 256
CHUNK = 64
MAX_PROCESSES = 8
DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error, zlib.error,
)
"""What Pillow's decoders raise on broken files."""


@dataclass(frozen=True)
class Job:
    """An image to decode, and where to write it (without suffix)."""

    id: str
    source: Path
    target: Path


@dataclass(frozen=True)
class Decoded:
    """An image that was decoded and written. Width and height are those of the written file."""

    id: str
    file: Path
    width: int
    height: int
    sha256: str
    """Of the written file."""


def decode_all(jobs: Sequence[Job], limits: ImageLimits) -> Iterator[Decoded | Quarantined]:
    """Decode every image once and write it to its target, in the order of the jobs.

    Raises EnvironmentProblem if a worker process dies.
    """
    if len(jobs) < PARALLEL_FROM:
        for job in jobs:
            yield decode(job, limits)
        return
    chunks = [(jobs[start : start + CHUNK], limits) for start in range(0, len(jobs), CHUNK)]
    processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            for outcomes in pool.map(_decode_chunk, chunks):
                yield from outcomes
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "a process that decodes images died, most likely for want of memory: lower data.limits.max_pixels"
            ) from error


def decode(job: Job, limits: ImageLimits) -> Decoded | Quarantined:
    """Decode one image within the limits and write it.

    JPEG and PNG files are written as they came. Other formats become PNG, and an image that its EXIF entry turns is
    written turned, so that whoever reads it needs to know nothing of EXIF.
    """
    try:
        size = job.source.stat().st_size
        if size > limits.max_bytes:
            return Quarantined(job.id, "too many bytes", f"{size} bytes, {limits.max_bytes} allowed")
        data = job.source.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Quarantined(job.id, "image file missing", job.source.name)
    except PermissionError:
        return Quarantined(job.id, "unreadable image", f"{job.source.name}: permission denied")
    try:
        with warnings.catch_warnings():
            # Pillow warns by a bound of its own; ours is checked here, before pixels are decoded.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if bad := _out_of_bounds(job.id, image.size, limits):
                    return bad
                image.load()
                written, suffix, (width, height) = _as_written(image, data)
    except Image.DecompressionBombError as error:
        return Quarantined(job.id, "too many pixels", str(error))
    except UnidentifiedImageError:
        # Its own message holds a memory address, which would differ from run to run.
        return Quarantined(job.id, "unreadable image", f"{job.source.name}: no {', '.join(FORMATS)} file")
    except DECODE_ERRORS as error:
        return Quarantined(job.id, "unreadable image", f"{job.source.name}: {error}"[:200])
    file = job.target.with_name(job.target.name + suffix)
    file.write_bytes(written)
    return Decoded(job.id, file, width, height, hashlib.sha256(written).hexdigest())


def _decode_chunk(chunk: tuple[Sequence[Job], ImageLimits]) -> list[Decoded | Quarantined]:
    jobs, limits = chunk
    return [decode(job, limits) for job in jobs]


def _out_of_bounds(image_id: str, size: tuple[int, int], limits: ImageLimits) -> Quarantined | None:
    width, height = size
    if width * height > limits.max_pixels:
        return Quarantined(image_id, "too many pixels", f"{width} x {height}, {limits.max_pixels} allowed")
    if min(size) < limits.min_side:
        return Quarantined(image_id, "too small", f"{width} x {height}, {limits.min_side} needed")
    return None


def _as_written(image: Image.Image, data: bytes) -> tuple[bytes, str, tuple[int, int]]:
    """The bytes to write, their suffix, and the size they decode to."""
    suffix = KEPT_SUFFIXES.get(str(image.format))
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    if suffix and not turned:
        return data, suffix, image.size
    upright = ImageOps.exif_transpose(image)
    buffer = io.BytesIO()
    if suffix == ".jpg":
        upright.save(buffer, "JPEG", quality=REWRITTEN_QUALITY)
    else:
        upright.save(buffer, "PNG")
    return buffer.getvalue(), suffix or ".png", upright.size
