from __future__ import annotations

import pytest

from tasks.ingest.boxes import BadBox, normalised
from tasks.ingest.records import Corners, RawBox

PIXELS = (640, 480)


def box(corners: Corners, unit: tuple[float, float] = PIXELS) -> Corners:
    return normalised([RawBox("cat", corners)], unit, PIXELS)[0].box


def test_pixels_become_shares() -> None:
    assert box((64, 48, 320, 240)) == (0.1, 0.1, 0.5, 0.5)


def test_shares_stay_shares() -> None:
    assert box((0.1, 0.2, 0.5, 0.6), (1.0, 1.0)) == (0.1, 0.2, 0.5, 0.6)


@pytest.mark.parametrize(
    ("corners", "expected"),
    [
        ((-2, -2, 320, 240), (0.0, 0.0, 0.5, 0.5)),
        ((320, 240, 642, 482), (0.5, 0.5, 1.0, 1.0)),
        ((320, 240, 646.4, 484.8), (0.5, 0.5, 1.0, 1.0)),
    ],
)
def test_a_box_slightly_out_is_clipped(corners: Corners, expected: Corners) -> None:
    assert box(corners) == expected


def test_in_a_small_image_two_pixels_are_slight() -> None:
    assert normalised([RawBox("cat", (-2, 0, 10, 10))], (20, 20), (20, 20))[0].box == (0.0, 0.0, 0.5, 0.5)


@pytest.mark.parametrize("corners", [(-7, 0, 10, 10), (0, 0, 647, 10), (0, -6, 10, 10), (700, 500, 800, 600)])
def test_a_box_further_out_is_bad(corners: Corners) -> None:
    with pytest.raises(BadBox) as caught:
        box(corners)
    assert caught.value.reason == "box outside image"
    assert "cat" in caught.value.detail and "640 x 480" in caught.value.detail


@pytest.mark.parametrize(
    "corners", [(10, 10, 5, 20), (10, 20, 20, 10), (10, 10, 10, 20), (-2, 0, 0, 10), (640, 0, 642, 10)]
)
def test_a_box_without_area_is_bad(corners: Corners) -> None:
    with pytest.raises(BadBox) as caught:
        box(corners)
    assert caught.value.reason == "degenerate box"
