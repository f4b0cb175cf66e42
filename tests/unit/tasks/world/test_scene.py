from __future__ import annotations

from collections import Counter

import pytest

from tasks.world.scene import (
    HELD_OUT,
    LARGE_AREA,
    MAX_OVERLAP,
    MIDLINE,
    QUADRANTS,
    Pairs,
    Scene,
    Thing,
    make_scene,
    overlap,
    quadrant_of,
    relation_of,
)

TRAINING = [make_scene(7, "train", index, "training") for index in range(600)]
HELD = [make_scene(7, "test", index, "held_out") for index in range(300)]


def area(thing: Thing) -> float:
    x1, y1, x2, y2 = thing.box()
    return (x2 - x1) * (y2 - y1)


def test_equal_arguments_give_equal_scenes_and_any_other_argument_another() -> None:
    first = make_scene(7, "train", 3, "training")
    assert make_scene(7, "train", 3, "training") == first
    others = [make_scene(8, "train", 3, "training"), make_scene(7, "test", 3, "training"), TRAINING[4]]
    assert all(other.things != first.things for other in others)


def test_training_scenes_hold_no_held_out_pair() -> None:
    assert not any(scene.pairs & set(HELD_OUT) for scene in TRAINING)


def test_held_out_scenes_hold_a_held_out_pair_each_and_every_one_occurs() -> None:
    assert all(scene.pairs & set(HELD_OUT) for scene in HELD)
    assert set().union(*(scene.pairs for scene in HELD)) >= set(HELD_OUT)


def test_every_training_pair_and_every_quadrant_occurs() -> None:
    assert len(set().union(*(scene.pairs for scene in TRAINING))) == 24 - len(HELD_OUT)
    assert {thing.quadrant for scene in TRAINING for thing in scene.things} == set(QUADRANTS)


@pytest.mark.parametrize("scenes", [TRAINING, HELD], ids=["training", "held_out"])
def test_one_to_four_things_are_about_equally_frequent(scenes: list[Scene]) -> None:
    counted = Counter(len(scene.things) for scene in scenes)
    assert set(counted) == {1, 2, 3, 4}
    assert min(counted.values()) > 0.18 * len(scenes)


def test_things_are_whole_apart_and_told_apart() -> None:
    for scene in TRAINING + HELD:
        assert len(scene.pairs) == len(scene.things)
        boxes = [thing.box() for thing in scene.things]
        assert all(0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1 for box in boxes)
        for place, box in enumerate(boxes):
            assert all(overlap(box, other) <= MAX_OVERLAP for other in boxes[:place])


def test_centres_stay_away_from_the_midlines() -> None:
    centres = [value for scene in TRAINING for thing in scene.things for value in (thing.x, thing.y)]
    assert all(min(value, 1 - value) <= MIDLINE for value in centres)


def test_two_things_seldom_share_a_quadrant() -> None:
    shared = [scene for scene in TRAINING if len({thing.quadrant for thing in scene.things}) < len(scene.things)]
    assert 0 < len(shared) < 0.1 * len(TRAINING)


def test_the_area_of_its_box_tells_a_large_thing_from_a_small_one() -> None:
    assert all((area(thing) > LARGE_AREA) == (thing.size == "large") for scene in TRAINING for thing in scene.things)


@pytest.mark.parametrize("pairs", ["training", "held_out"])
def test_test_scenes_do_not_occur_in_training(pairs: Pairs) -> None:
    seen = {scene.things for scene in TRAINING}
    assert not any(make_scene(7, "test", index, pairs).things in seen for index in range(200))


def test_quadrants_and_relations_have_y_pointing_down() -> None:
    assert [quadrant_of(x, y) for x, y in ((0.2, 0.2), (0.8, 0.2), (0.2, 0.8), (0.8, 0.8))] == list(QUADRANTS)
    assert relation_of((0.2, 0.2), (0.8, 0.3), gap=0.2) == {"left of"}
    assert relation_of((0.8, 0.9), (0.2, 0.1), gap=0.2) == {"right of", "below"}
