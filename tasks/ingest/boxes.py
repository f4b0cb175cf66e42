"""Boxes of a source as normalised boxes, or the reason why they cannot be."""

from __future__ import annotations

from collections.abc import Sequence

from model.records import Box
from tasks.ingest.records import Corners, RawBox, Reason

SLACK_PIXELS = 2.0
SLACK_SHARE = 0.01
"""A box may reach this far out of the image (the larger of both); it is then clipped."""
DECIMALS = 6


class BadBox(ValueError):
    """A box that no clipping mends."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def normalised(raw: Sequence[RawBox], unit: tuple[float, float], pixels: tuple[int, int]) -> tuple[Box, ...]:
    """Boxes in shares of the image (0..1), clipped where they reach a little out of it.

    `unit` is the size that the raw corners refer to: (1, 1) for normalised ones. `pixels` is the image's own size.
    Raises BadBox for a box that is reversed, empty, or further out.
    """
    return tuple(Box(category=box.category, box=_corners(box, unit, pixels)) for box in raw)


def _corners(box: RawBox, unit: tuple[float, float], pixels: tuple[int, int]) -> Corners:
    x1, y1, x2, y2 = box.corners
    shown = f"{box.category} {[round(value, 3) for value in box.corners]} in {unit[0]:g} x {unit[1]:g}"
    if x2 <= x1 or y2 <= y1:
        raise BadBox("degenerate box", shown)
    left, right = (_clipped(value / unit[0], pixels[0], shown) for value in (x1, x2))
    top, bottom = (_clipped(value / unit[1], pixels[1], shown) for value in (y1, y2))
    if right <= left or bottom <= top:
        raise BadBox("degenerate box", shown)
    return (left, top, right, bottom)


def _clipped(share: float, pixels: int, shown: str) -> float:
    slack = max(SLACK_PIXELS / pixels, SLACK_SHARE)
    if not -slack - 1e-9 <= share <= 1 + slack + 1e-9:
        raise BadBox("box outside image", shown)
    return round(min(1.0, max(0.0, share)), DECIMALS)
