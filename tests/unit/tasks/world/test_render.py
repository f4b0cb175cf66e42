from __future__ import annotations

import io
import math

import pytest
from PIL import Image, ImageChops

from tasks.world.render import jpeg, png, render
from tasks.world.scene import BACKGROUNDS, RGB, SHAPES, Background, Colour, Rgb, Scene, Shape, Thing, make_scene

GREY: Rgb = (230, 230, 230)
PLAIN = Background("plain", GREY, 0)


def thing(colour: Colour = "red", shape: Shape = "circle", x: float = 0.3, y: float = 0.3) -> Thing:
    return Thing(colour, shape, "large", x, y, 0.2, RGB[colour], tilt=5.0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_box_is_tight_around_what_is_drawn(shape: Shape) -> None:
    pixels = 192
    drawn = thing(shape=shape)
    picture = render(Scene("a", (drawn,), PLAIN), pixels)
    found = ImageChops.difference(picture, Image.new("RGB", picture.size, GREY)).getbbox()
    assert found is not None
    assert all(abs(edge - share * pixels) <= 1.5 for edge, share in zip(found, drawn.box(), strict=True))


def test_a_thing_has_its_colour_at_its_centre_and_later_things_lie_above() -> None:
    below, above = thing("red"), thing("blue", "square")
    assert render(Scene("a", (below,), PLAIN), 96).getpixel((29, 29)) == RGB["red"]
    assert render(Scene("a", (below, above), PLAIN), 96).getpixel((29, 29)) == RGB["blue"]


def test_edges_are_smooth() -> None:
    colours = render(Scene("a", (thing("blue"),), PLAIN), 96).getcolors()
    assert colours is not None and len(colours) > 4


def test_colours_are_clearly_distinct() -> None:
    values = list(RGB.values())
    distances = [math.dist(first, second) for place, first in enumerate(values) for second in values[:place]]
    assert min(distances) > 80


def test_backgrounds_are_light_and_of_low_contrast() -> None:
    kinds: set[str] = set()
    for index in range(60):
        scene = make_scene(7, "train", index, "training")
        kinds.add(scene.background.kind)
        levels = render(Scene("empty", (), scene.background), 64).convert("L").tobytes()
        assert min(levels) > 180 and max(levels) - min(levels) < 30
    assert kinds == set(BACKGROUNDS)


def test_equal_scenes_give_equal_bytes_of_the_asked_size() -> None:
    scene = make_scene(7, "train", 1, "training")
    assert jpeg(scene, 96) == jpeg(scene, 96)
    assert png(scene, 64) == png(scene, 64)
    with Image.open(io.BytesIO(png(scene, 64))) as picture:
        assert (picture.size, picture.mode, picture.format) == ((64, 64), "RGB", "PNG")
    with Image.open(io.BytesIO(jpeg(scene, 96))) as picture:
        assert (picture.size, picture.mode, picture.format) == ((96, 96), "RGB", "JPEG")
