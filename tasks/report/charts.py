"""Loss curves as inline SVG: axes, ticks, labels and a title that a screen reader reads. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup, escape

from tasks.report.inputs import Curve

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 24, 14, 46
MOST_POINTS = 400
FEW_POINTS = 30
"""A curve of fewer points is not smoothed, its points are drawn."""

Point = tuple[float, float]


class Scale(NamedTuple):
    """A linear axis: values to pixels, and its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def loss_chart(curve: Curve, identity: str) -> Markup:
    """The loss of a stage by step: every value pale, their running mean over it. `identity` is unique on the page."""
    points = [(float(step), loss) for step, loss in curve.points if math.isfinite(loss)]
    if not points:
        return Markup("")
    thin = _thinned(points)
    smooth = _smoothed(points)
    x = _scale([step for step, _ in points], LEFT, WIDTH - RIGHT, 6)
    y = _scale([0.0, *(loss for _, loss in thin)], HEIGHT - BOTTOM, TOP, 5)
    title = f"Loss of stage {curve.stage} by step"
    told = (
        f"{len(points)} values from step {points[0][0]:g} to {points[-1][0]:g}; the loss goes from {points[0][1]:.3f} "
        f"to {points[-1][1]:.3f}"
    )
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity}-t {identity}-d">',
        f'<title id="{identity}-t">{escape(title)}</title><desc id="{identity}-d">{escape(told)}</desc>',
        *_grid(x, y),
        *_lines(thin, smooth, x, y),
        *_last(smooth[-1], x, y),
        f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}">step</text>',
        f'<text class="name" transform="translate(13 {(TOP + HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)">loss</text>',
        "</svg>",
    ]
    return Markup("".join(parts))


def ticks(low: float, high: float, count: int) -> tuple[float, ...]:
    """Round values (1, 2, 2.5 or 5 times a power of ten) from low to high, about `count` of them, ends included."""
    span = high - low or abs(high) or 1.0
    rough = span / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil((low + span) / step - 1e-9)
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def _scale(values: Sequence[float], start: float, end: float, count: int) -> Scale:
    marks = ticks(min(values), max(values), count)
    return Scale(marks[0], marks[-1], start, end, marks)


def _grid(x: Scale, y: Scale) -> Iterator[str]:
    for value in y.ticks:
        at = f"{y.at(value):.1f}"
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>'
        yield f'<text class="tick y" x="{LEFT - 8}" y="{at}" dy="0.32em">{value:g}</text>'
    yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.start}" y2="{y.start}"/>'
    for value in x.ticks:
        at = f"{x.at(value):.1f}"
        yield f'<line class="axis" x1="{at}" x2="{at}" y1="{y.start}" y2="{y.start + 5}"/>'
        yield f'<text class="tick x" x="{at}" y="{y.start + 18}">{value:g}</text>'


def _lines(thin: Sequence[Point], smooth: Sequence[Point], x: Scale, y: Scale) -> Iterator[str]:
    if len(thin) < FEW_POINTS:
        yield from (f'<circle class="dot" cx="{x.at(step):.1f}" cy="{y.at(loss):.1f}" r="2.5"/>' for step, loss in thin)
    else:
        yield f'<polyline class="raw" points="{_path(thin, x, y)}"/>'
    yield f'<polyline class="smooth" points="{_path(smooth, x, y)}"/>'


def _last(point: Point, x: Scale, y: Scale) -> Iterator[str]:
    """A mark on the last value, with the value over it."""
    across, down = x.at(point[0]), y.at(point[1])
    yield f'<circle class="end" cx="{across:.1f}" cy="{down:.1f}" r="3.5"/>'
    over = max(TOP + 10, down - 10)
    yield f'<text class="value" x="{across:.1f}" y="{over:.1f}">{point[1]:.2f}</text>'


def _path(points: Sequence[Point], x: Scale, y: Scale) -> str:
    return " ".join(f"{x.at(step):.1f},{y.at(loss):.1f}" for step, loss in points)


def _thinned(points: list[Point]) -> list[Point]:
    """At most MOST_POINTS points: the mean of every stretch."""
    if len(points) <= MOST_POINTS:
        return points
    edges = [len(points) * at // MOST_POINTS for at in range(MOST_POINTS + 1)]
    return [_mean(points[start:end]) for start, end in pairwise(edges)]


def _smoothed(points: list[Point]) -> list[Point]:
    """Running mean over a twentieth of the curve, one-sided at its ends."""
    if len(points) < FEW_POINTS:
        return points
    reach = max(1, len(points) // 40)
    every = max(1, len(points) // MOST_POINTS)
    centres = [*range(0, len(points) - 1, every), len(points) - 1]
    found = []
    for centre in centres:
        near = points[max(0, centre - reach) : centre + reach + 1]
        found.append((points[centre][0], _mean(near)[1]))
    return found


def _mean(points: Sequence[Point]) -> Point:
    return sum(step for step, _ in points) / len(points), sum(value for _, value in points) / len(points)
