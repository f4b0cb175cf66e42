"""However an image is stored, an engine sees the pixels that a person sees."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from configs.serve import Limits
from tasks.serve.asked import Picture
from tasks.serve.failures import Refusal
from tasks.serve.pictures import read_data, read_image, read_unnamed, upright_rgb
from tests.fakes.serving import data_uri, encoded, picture

LIMITS = Limits()


def pixels(shown: Picture) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.frombuffer(shown.octets, np.uint8).reshape(shown.height, shown.width, 3)


def plain() -> Image.Image:
    with Image.open(io.BytesIO(picture("red"))) as image:
        return image.convert("RGB")


def test_a_plain_image_is_its_pixels() -> None:
    shown = read_data(data_uri(picture("red")), LIMITS, "x")
    assert (shown.width, shown.height) == (40, 30)
    assert np.array_equal(pixels(shown), np.asarray(plain()))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_that_exif_turns_is_upright(orientation: int) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = plain().transpose(undo[orientation]) if orientation in undo else plain()
    shown = read_data(data_uri(encoded(stored, "PNG", exif=exif)), LIMITS, "x")
    assert np.array_equal(pixels(shown), np.asarray(plain()))


def test_cmyk_is_the_same_picture() -> None:
    stored = encoded(plain().convert("CMYK"), "JPEG", quality=95)
    shown = read_data(data_uri(stored, "image/jpeg"), LIMITS, "x")
    assert np.abs(pixels(shown).astype(int) - np.asarray(plain())).mean() < 4


def test_sixteen_bits_a_channel_are_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 40 * 30).astype(np.uint16).reshape(30, 40)
    shown = read_data(data_uri(encoded(Image.fromarray(ramp))), LIMITS, "x")
    assert np.array_equal(pixels(shown)[..., 0], (ramp // 257).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_other_modes_are_shown_as_pillow_shows_them(mode: str) -> None:
    stored = plain().convert(mode)
    shown = read_image(encoded(stored), "image/png", LIMITS, "x")
    assert np.array_equal(pixels(shown), np.asarray(upright_rgb(stored)))


def test_the_same_pixels_have_the_same_digest_and_others_another() -> None:
    shown = [read_image(picture(colour), "image/png", LIMITS, "x").digest for colour in ("red", "red", "green")]
    assert shown[0] == shown[1] != shown[2]
    flat = [Image.new("RGB", size) for size in ((4, 6), (6, 4))]
    assert len({read_image(encoded(one), "image/png", LIMITS, "x").digest for one in flat}) == 2


def test_an_image_of_ours_needs_no_type() -> None:
    for kind in ("PNG", "JPEG", "WEBP"):
        assert read_unnamed(picture(kind=kind), LIMITS).width == 40
    with pytest.raises(Refusal):
        read_unnamed(b"nothing", LIMITS)


def test_a_file_that_is_too_large_is_not_decoded() -> None:
    with pytest.raises(Refusal) as refused:
        read_data(data_uri(bytes(2000)), Limits(image_bytes=1000), "x")
    assert refused.value.code == "image_too_large"
