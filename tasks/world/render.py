"""Scenes as pictures: anti-aliased by drawing each shape three times too large."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageDraw

from tasks.world.scene import Background, Rgb, Scene, Thing

PIXELS = 96
FINER = 3
QUALITY = 92
CONTRAST = 9
"""How far a texture departs from the background's colour, in levels of 255."""


def render(scene: Scene, pixels: int = PIXELS) -> Image.Image:
    """An RGB picture of `pixels` x `pixels`; equal scenes give equal pixels."""
    picture = _ground(scene.background, pixels)
    for thing in scene.things:
        _draw(picture, thing, pixels)
    return picture


def jpeg(scene: Scene, pixels: int = PIXELS) -> bytes:
    """The picture as JPEG."""
    return _encoded(render(scene, pixels), "JPEG", quality=QUALITY)


def png(scene: Scene, pixels: int = PIXELS) -> bytes:
    """The picture as PNG."""
    return _encoded(render(scene, pixels), "PNG", compress_level=4)


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _draw(picture: Image.Image, thing: Thing, pixels: int) -> None:
    """Paste the thing's colour through a mask that is only as large as its box."""
    x1, y1, x2, y2 = thing.box()
    left, top = max(0, int(x1 * pixels) - 1), max(0, int(y1 * pixels) - 1)
    right, bottom = min(pixels, int(x2 * pixels) + 2), min(pixels, int(y2 * pixels) + 2)
    mask = Image.new("L", ((right - left) * FINER, (bottom - top) * FINER))

    def at(x: float, y: float) -> tuple[float, float]:
        return ((x * pixels - left) * FINER, (y * pixels - top) * FINER)

    if points := thing.outline():
        ImageDraw.Draw(mask).polygon([at(x, y) for x, y in points], fill=255)
    else:
        ImageDraw.Draw(mask).ellipse([at(x1, y1), at(x2, y2)], fill=255)
    picture.paste(thing.rgb, (left, top, right, bottom), mask.reduce(FINER))


def _ground(background: Background, pixels: int) -> Image.Image:
    if background.kind == "plain":
        return Image.new("RGB", (pixels, pixels), background.rgb)
    rng = random.Random(background.grain)
    if background.kind == "speckled":
        coarse = max(1, pixels // 2)
        levels = Image.frombytes("L", (coarse, coarse), rng.randbytes(coarse * coarse))
        weight = levels.resize((pixels, pixels), Image.Resampling.NEAREST)
    elif background.kind == "shaded":
        weight = Image.linear_gradient("L").rotate(90 * rng.randrange(4)).resize((pixels, pixels))
    else:
        weight = _stripes(rng, pixels)
    dark, light = (_shifted(background.rgb, by) for by in (-CONTRAST, CONTRAST))
    return Image.composite(Image.new("RGB", weight.size, light), Image.new("RGB", weight.size, dark), weight)


def _stripes(rng: random.Random, pixels: int) -> Image.Image:
    period = rng.uniform(0.08, 0.16) * pixels
    offset = rng.uniform(0, period)
    line = Image.new("L", (pixels, 1))
    line.putdata([255 if (column + offset) % period < period / 2 else 0 for column in range(pixels)])
    stripes = line.resize((pixels, pixels))
    return stripes.rotate(90) if rng.random() < 0.5 else stripes


def _shifted(rgb: Rgb, by: int) -> Rgb:
    red, green, blue = (min(255, max(0, value + by)) for value in rgb)
    return (red, green, blue)
