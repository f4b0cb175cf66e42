"""Scenes of one to four coloured shapes: what is where, drawn at random from a hash of (seed, split, index)."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Literal

Colour = Literal["red", "green", "blue", "yellow", "purple", "orange"]
Shape = Literal["circle", "square", "triangle", "star"]
Size = Literal["small", "large"]
Quadrant = Literal["top left", "top right", "bottom left", "bottom right"]
BackgroundKind = Literal["plain", "speckled", "striped", "shaded"]
Pair = tuple[Colour, Shape]
Pairs = Literal["training", "held_out"]
Point = tuple[float, float]
Corners = tuple[float, float, float, float]
Rgb = tuple[int, int, int]

COLOURS: tuple[Colour, ...] = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "star")
SIZES: tuple[Size, ...] = ("small", "large")
QUADRANTS: tuple[Quadrant, ...] = ("top left", "top right", "bottom left", "bottom right")
BACKGROUNDS: tuple[BackgroundKind, ...] = ("plain", "plain", "speckled", "striped", "shaded")
HELD_OUT: tuple[Pair, ...] = (("red", "star"), ("blue", "circle"), ("yellow", "triangle"))
"""Shape-colour pairs that no training scene, caption or question holds."""

ALL_PAIRS: tuple[Pair, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)
TRAINING_PAIRS: tuple[Pair, ...] = tuple(pair for pair in ALL_PAIRS if pair not in HELD_OUT)

RGB: dict[Colour, Rgb] = {
    "red": (216, 32, 36),
    "green": (34, 150, 60),
    "blue": (36, 72, 214),
    "yellow": (240, 212, 28),
    "purple": (134, 44, 168),
    "orange": (244, 128, 20),
}
JITTER = 12
RADII: dict[Size, tuple[float, float]] = {"small": (0.11, 0.13), "large": (0.18, 0.21)}
LARGE_AREA = 0.086
"""Area of a box, as a share of the picture, that separates small things from large ones of every shape."""

MIDLINE = 0.38
"""Centres stay this near to their side of the picture, so that the quadrant is never in doubt."""
MAX_OVERLAP = 0.2
"""Largest part of the smaller of two boxes that the other may cover."""
SHARED_QUADRANT = 0.06
TILT = 8.0
TRIES = 30


@dataclass(frozen=True)
class Thing:
    """One object. Centre and radius are normalised to the picture (0..1, y down), tilt is in degrees."""

    colour: Colour
    shape: Shape
    size: Size
    x: float
    y: float
    radius: float
    rgb: Rgb
    tilt: float = 0.0

    @property
    def pair(self) -> Pair:
        """Colour and shape, which name a thing within its scene."""
        return (self.colour, self.shape)

    @property
    def held_out(self) -> bool:
        """True if no training scene holds this pair."""
        return self.pair in HELD_OUT

    @property
    def quadrant(self) -> Quadrant:
        """The quarter of the picture that the centre lies in."""
        return quadrant_of(self.x, self.y)

    def outline(self) -> tuple[Point, ...]:
        """Normalised corners of the drawn polygon; empty for a circle."""
        turn = math.radians(self.tilt)
        cos, sin = math.cos(turn) * self.radius, math.sin(turn) * self.radius
        return tuple((self.x + u * cos - v * sin, self.y + u * sin + v * cos) for u, v in UNIT_OUTLINES[self.shape])

    def box(self) -> Corners:
        """Normalised [x1, y1, x2, y2], tight around the drawn shape."""
        points = self.outline()
        if not points:
            return (self.x - self.radius, self.y - self.radius, self.x + self.radius, self.y + self.radius)
        across, down = [x for x, _ in points], [y for _, y in points]
        return (min(across), min(down), max(across), max(down))


@dataclass(frozen=True)
class Background:
    """What things lie on: always light, and of low contrast. `grain` seeds the texture."""

    kind: BackgroundKind
    rgb: Rgb
    grain: int


@dataclass(frozen=True)
class Scene:
    """One to four things on a background; later things are drawn above earlier ones."""

    id: str
    things: tuple[Thing, ...]
    background: Background

    @property
    def pairs(self) -> frozenset[Pair]:
        """The pairs in the scene; no two things share one."""
        return frozenset(thing.pair for thing in self.things)


def quadrant_of(x: float, y: float) -> Quadrant:
    """The quarter of the picture that a normalised point lies in."""
    if y < 0.5:
        return "top left" if x < 0.5 else "top right"
    return "bottom left" if x < 0.5 else "bottom right"


def seeded(*parts: object) -> random.Random:
    """A generator that depends on the parts alone."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


def make_scene(seed: int, split: str, index: int, pairs: Pairs) -> Scene:
    """Scene `index` of a split. Scenes of "held_out" hold at least one held-out pair, those of "training" none."""
    rng = seeded("scene", seed, split, index, pairs)
    count = rng.randint(1, 4)
    chosen = rng.sample(TRAINING_PAIRS, count)
    if pairs == "held_out":
        chosen[rng.randrange(count)] = rng.choice(HELD_OUT)
    return Scene(f"{split}-{index:06d}", _place(rng, chosen), _background(rng))


def relation_of(first: Point, second: Point, gap: float) -> frozenset[str]:
    """How the first centre lies to the second, in words, where they are at least `gap` apart on that axis."""
    dx, dy = second[0] - first[0], second[1] - first[1]
    words = {"left of": dx, "right of": -dx, "above": dy, "below": -dy}
    return frozenset(word for word, distance in words.items() if distance >= gap)


def _place(rng: random.Random, pairs: list[Pair]) -> tuple[Thing, ...]:
    quadrants = rng.sample(QUADRANTS, len(pairs))
    sizes = [rng.choice(SIZES) for _ in pairs]
    if len(pairs) > 1 and rng.random() < SHARED_QUADRANT:
        quadrants[1] = quadrants[0]
        sizes[:2] = ["small", "small"]
    things: list[Thing] = []
    for pair, size, quadrant in zip(pairs, sizes, quadrants, strict=True):
        things.append(_fitting(rng, pair, size, quadrant, things))
    return tuple(things)


def _fitting(rng: random.Random, pair: Pair, size: Size, quadrant: Quadrant, placed: list[Thing]) -> Thing:
    """A thing that covers little of what is placed: as wished, else small, else in another quadrant."""
    wishes: list[tuple[Size, Quadrant]] = [(size, quadrant), ("small", quadrant)]
    wishes += [("small", other) for other in QUADRANTS]
    for wished_size, wished_quadrant in wishes:
        for _ in range(TRIES):
            thing = _thing(rng, pair, wished_size, wished_quadrant)
            if all(overlap(thing.box(), other.box()) <= MAX_OVERLAP for other in placed):
                return thing
    raise AssertionError(f"no room for a small thing beside {len(placed)} others")


def _thing(rng: random.Random, pair: Pair, size: Size, quadrant: Quadrant) -> Thing:
    low, high = RADII[size]
    radius = rng.uniform(low, high)
    x, y = (rng.uniform(radius + 0.01, MIDLINE) for _ in range(2))
    red, green, blue = (min(255, max(0, value + rng.randint(-JITTER, JITTER))) for value in RGB[pair[0]])
    return Thing(
        colour=pair[0],
        shape=pair[1],
        size=size,
        x=1 - x if "right" in quadrant else x,
        y=1 - y if "bottom" in quadrant else y,
        radius=radius,
        rgb=(red, green, blue),
        tilt=rng.uniform(-TILT, TILT),
    )


def _background(rng: random.Random) -> Background:
    grey = rng.randint(218, 246)
    red, green, blue = (min(252, max(208, grey + rng.randint(-10, 10))) for _ in range(3))
    return Background(rng.choice(BACKGROUNDS), (red, green, blue), rng.getrandbits(32))


def overlap(first: Corners, second: Corners) -> float:
    """The common area of two boxes as a share of the smaller one."""
    across = min(first[2], second[2]) - max(first[0], second[0])
    down = min(first[3], second[3]) - max(first[1], second[1])
    if across <= 0 or down <= 0:
        return 0.0
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return across * down / smaller


def _star() -> tuple[Point, ...]:
    """Ten corners, alternately on the unit circle and on an inner one, first corner up."""
    radii = [1.0 if corner % 2 == 0 else 0.45 for corner in range(10)]
    angles = [math.pi * corner / 5 - math.pi / 2 for corner in range(10)]
    return tuple((radius * math.cos(a), radius * math.sin(a)) for radius, a in zip(radii, angles, strict=True))


UNIT_OUTLINES: dict[Shape, tuple[Point, ...]] = {
    "circle": (),
    "square": ((-0.86, -0.86), (0.86, -0.86), (0.86, 0.86), (-0.86, 0.86)),
    "triangle": ((0.0, -0.95), (0.95, 0.75), (-0.95, 0.75)),
    "star": _star(),
}
"""Corners around the centre at radius 1, before tilt."""
