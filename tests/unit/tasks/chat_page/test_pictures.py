from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from tasks.chat_page.pictures import Limits, Refused, Uploads, take_in

LIMITS = Limits(megabytes=1, megapixels=1)


def opened(path: Path) -> Image.Image:
    image = Image.open(io.BytesIO(take_in(path, LIMITS).data))
    image.load()
    return image


def test_a_plain_file_is_kept_byte_for_byte(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (30, 20), (10, 200, 30)).save(tmp_path / name)
        taken = take_in(tmp_path / name, LIMITS)
        assert taken.data == (tmp_path / name).read_bytes()
        assert taken.sha256 == hashlib.sha256(taken.data).hexdigest() and taken.suffix == name[2:]


def test_a_photo_is_turned_upright_and_loses_where_it_was_taken(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), (200, 0, 0))
    image.paste((0, 0, 200), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    exif.get_ifd(0x8825)[1] = "N"
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    clean = opened(tmp_path / "a.jpg")
    assert clean.size == (20, 40) and not clean.getexif() and "exif" not in clean.info
    red, _, blue = clean.convert("RGB").getpixel((10, 5))  # type: ignore[misc]
    assert blue > 150 > red


def test_png_text_goes_too(tmp_path: Path) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "Ann")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=info)
    assert b"Ann" not in take_in(tmp_path / "a.png", LIMITS).data


@pytest.mark.parametrize("mode", ["CMYK", "P", "LA", "1", "L", "RGBA"])
def test_any_colour_mode_becomes_one_that_models_read(tmp_path: Path, mode: str) -> None:
    name = "a.jpg" if mode == "CMYK" else "a.png"
    Image.new("RGB", (8, 8), (250, 250, 250)).convert(mode).save(tmp_path / name)
    grey = opened(tmp_path / name).convert("L").getpixel((4, 4))
    assert isinstance(grey, int | float) and grey > 240


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    image = Image.new("I;16", (8, 8), 32768)
    image.putpixel((0, 0), 65535)
    image.save(tmp_path / "a.png")
    grey = opened(tmp_path / "a.png").getpixel((4, 4))
    assert isinstance(grey, int | float) and 120 <= grey <= 135


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert opened(tmp_path / "a.gif").convert("RGB").getpixel((4, 4)) == (255, 0, 0)


def bomb(side: int) -> bytes:
    """A PNG whose header claims side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + head))
    pixels = zlib.compress(b"\0")
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + head + crc + struct.pack(">I", len(pixels)) + (
        b"IDAT" + pixels + struct.pack(">I", zlib.crc32(b"IDAT" + pixels))
    )


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (b"no image", "not_an_image"),
        (b"", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"\xff\xd8\xff\xe0 truncated", "not_an_image"),
        (bomb(1200), "too_many_pixels"),
        (bomb(60_000), "too_many_pixels"),
        (b"\0" * 1_000_001, "too_large"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(tmp_path: Path, data: bytes, key: str) -> None:
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(Refused) as raised:
        take_in(tmp_path / "a.png", LIMITS)
    assert raised.value.key == key and raised.value.values["name"] == "a.png"


def test_uploads_are_found_by_nothing_but_their_digest(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    uploads, picture = Uploads(tmp_path / "uploads"), take_in(tmp_path / "a.png", LIMITS)
    path = uploads.keep(picture)
    assert uploads.path(picture.sha256) == path and uploads.picture(picture.sha256) == picture
    for name in ("../a", "a", "", "*" * 64, picture.sha256.upper(), "0" * 64):
        assert uploads.path(name) is None
    assert uploads.remove_before(path.stat().st_mtime - 1) == 0
    assert uploads.remove_before(path.stat().st_mtime + 1) == 1 and uploads.path(picture.sha256) is None
