from __future__ import annotations

import hashlib
import io
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from configs.schema import ImageLimits
from tasks.errors import EnvironmentProblem
from tasks.ingest import decoding
from tasks.ingest.decoding import decode_all
from tasks.ingest.images import Decoded, Facts, Job, decode
from tasks.ingest.places import Location
from tasks.ingest.records import Quarantined
from tests.unit.tasks.ingest.sets import dies, picture, scene

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=100_000)


def look(folder: Path, data: bytes | None, limits: ImageLimits = LIMITS) -> Decoded | Quarantined:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "source.bin"
    if data is not None:
        source.write_bytes(data)
    return decode(job_of(source), limits)


def job_of(source: Path, name: str = "a", known: Facts | None = None) -> Job:
    size = source.stat().st_size if source.exists() else 0
    return Job(name, source.name, Location(str(source)), size, known)


def reason(outcome: Decoded | Quarantined) -> str:
    assert isinstance(outcome, Quarantined), outcome
    return outcome.reason


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png")])
def test_jpeg_and_png_are_kept_byte_for_byte(tmp_path: Path, kind: str, suffix: str) -> None:
    data = picture(kind=kind)
    outcome = look(tmp_path, data)
    assert isinstance(outcome, Decoded)
    facts = outcome.facts
    assert outcome.data == data and facts.kept and facts.format == suffix
    assert (facts.width, facts.height) == (40, 20) and facts.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["WEBP", "BMP"])
def test_other_formats_become_png(tmp_path: Path, kind: str) -> None:
    outcome = look(tmp_path, picture(kind=kind))
    assert isinstance(outcome, Decoded) and outcome.facts.format == "png" and not outcome.facts.kept
    with Image.open(io.BytesIO(outcome.data)) as image:
        assert (image.format, image.size) == ("PNG", (40, 20))


def test_an_image_that_exif_turns_is_written_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (40, 20), (255, 0, 0))
    image.paste((0, 0, 255), (0, 0, 10, 20))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=95)
    outcome = look(tmp_path, buffer.getvalue())
    assert isinstance(outcome, Decoded) and (outcome.facts.width, outcome.facts.height) == (20, 40)
    with Image.open(io.BytesIO(outcome.data)) as turned:
        assert turned.size == (20, 40) and turned.getexif().get(0x0112, 1) == 1
        pixel = turned.convert("RGB").getpixel((10, 3))
    assert isinstance(pixel, tuple) and pixel[2] > 200 > pixel[0]
    assert outcome.facts.sha256 == hashlib.sha256(outcome.data).hexdigest()


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", picture(kind="JPEG", size=(200, 200))[:400], picture()[:60], b"\xff\xd8\xff" + b"\0" * 100],
    ids=["empty", "text", "truncated jpeg", "truncated png", "broken jpeg"],
)
def test_unreadable_images(tmp_path: Path, data: bytes) -> None:
    assert reason(look(tmp_path, data)) == "unreadable image"


def test_a_format_that_nobody_asked_for_is_not_decoded(tmp_path: Path) -> None:
    assert reason(look(tmp_path, picture(kind="TIFF"))) == "unreadable image"


def test_a_missing_file(tmp_path: Path) -> None:
    assert reason(look(tmp_path, None)) == "image file missing"


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "source.bin").mkdir()
    assert reason(look(tmp_path, None)) == "image file missing"


def test_too_many_bytes(tmp_path: Path) -> None:
    data = picture()
    assert reason(look(tmp_path, data, ImageLimits(max_bytes=len(data) - 1))) == "too many bytes"
    assert isinstance(look(tmp_path, data, ImageLimits(max_bytes=len(data))), Decoded)


def test_too_many_pixels(tmp_path: Path) -> None:
    assert reason(look(tmp_path, picture(), ImageLimits(max_pixels=799))) == "too many pixels"
    assert isinstance(look(tmp_path, picture(), ImageLimits(max_pixels=800)), Decoded)


@pytest.mark.parametrize("side", [10_000, 12_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    assert reason(look(tmp_path, png_header(side, side), ImageLimits())) == "too many pixels"


def test_too_small(tmp_path: Path) -> None:
    assert reason(look(tmp_path, picture(size=(40, 7)))) == "too small"
    assert isinstance(look(tmp_path, picture(size=(40, 8))), Decoded)


def test_what_is_known_costs_no_decoding_if_the_bytes_are_the_same(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    source.write_bytes(picture())
    fresh = decode(job_of(source), LIMITS)
    assert isinstance(fresh, Decoded) and fresh.fresh
    assert decode(job_of(source, known=fresh.facts), LIMITS) == replace(fresh, fresh=False)
    source.write_bytes(picture(1))
    changed = decode(job_of(source, known=fresh.facts), LIMITS)
    assert isinstance(changed, Decoded) and changed.fresh and changed.facts.sha256 != fresh.facts.sha256


def test_a_flat_image_has_no_perceptual_hash(tmp_path: Path) -> None:
    flat, busy = look(tmp_path / "flat", picture()), look(tmp_path / "busy", scene(1))
    assert isinstance(flat, Decoded) and flat.facts.phash is None
    assert isinstance(busy, Decoded) and busy.facts.phash is not None and len(busy.facts.phash) == 16


def jobs_in(folder: Path) -> list[tuple[int, Job | Quarantined]]:
    jobs: list[tuple[int, Job | Quarantined]] = []
    for number in range(decoding.PARALLEL_FROM):
        source = folder / f"{number}.png"
        source.write_bytes(b"broken" if number % 7 == 0 else picture(number))
        jobs.append((number, job_of(source, str(number))))
    return jobs


def test_processes_give_what_one_process_gives_in_the_same_order(tmp_path: Path) -> None:
    jobs = jobs_in(tmp_path)
    jobs[5] = (5, Quarantined("5", "image file missing", "5.png"))
    outcomes = list(decode_all(jobs, len(jobs), LIMITS))
    assert outcomes == list(decode_all(jobs, 1, LIMITS))
    assert sum(isinstance(outcome, Quarantined) for _, outcome in outcomes) == len(range(0, len(jobs), 7)) + 1


def test_jobs_are_taken_up_as_they_can_be_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "CHUNK", 4)
    monkeypatch.setattr(decoding, "MAX_PROCESSES", 1)
    jobs = iter(jobs_in(tmp_path))
    outcomes = decode_all(jobs, decoding.PARALLEL_FROM, LIMITS)
    next(outcomes)
    assert len(list(jobs)) == decoding.PARALLEL_FROM - 4 * decoding.CHUNKS_A_PROCESS
    assert len(list(outcomes)) == 4 * decoding.CHUNKS_A_PROCESS - 1


def test_a_worker_that_dies_is_the_machine_s_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_decode_chunk", dies)
    with pytest.raises(EnvironmentProblem, match=r"data\.limits\.max_pixels"):
        list(decode_all(jobs_in(tmp_path), decoding.PARALLEL_FROM, LIMITS))
