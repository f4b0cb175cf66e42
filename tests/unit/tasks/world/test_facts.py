from __future__ import annotations

import pytest

from model.records import Box
from tasks.world.captions import captions
from tasks.world.facts import Facts, check, claims, facts_of
from tasks.world.scene import make_scene
from tasks.world.testsets import boxes_of

SCENES = [make_scene(7, "train", index, "training") for index in range(100)]
SCENES += [make_scene(7, "test", index, "held_out") for index in range(50)]
RED = Box(category="red circle", box=(0.05, 0.05, 0.45, 0.45))
BLUE = Box(category="blue star", box=(0.6, 0.65, 0.85, 0.9))
BOXED = facts_of(["Two objects on a plain background."], [RED, BLUE])
TOLD = facts_of(["A red circle in the top left and a small blue star in the bottom right.", "Two objects."])
PARTIAL = facts_of(["A red circle and more."])


def test_boxes_give_back_the_scene() -> None:
    for scene in SCENES:
        facts = facts_of(captions(scene), boxes_of(scene))
        assert {(known.pair, known.size, known.quadrant) for known in facts.things} == {
            (thing.pair, thing.size, thing.quadrant) for thing in scene.things
        }
        assert facts.complete and facts.count == len(scene.things)
        assert facts.background in (scene.background.kind, None)


def test_captions_alone_give_back_pairs_and_places() -> None:
    for scene in SCENES:
        facts = facts_of(captions(scene))
        assert {(known.pair, known.quadrant) for known in facts.things} == {
            (thing.pair, thing.quadrant) for thing in scene.things
        }
        assert facts.complete and facts.count == len(scene.things)


@pytest.mark.parametrize("facts", [BOXED, TOLD], ids=["boxes", "captions"])
@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("The circle is red.", [True]),
        ("The circle is blue.", [False]),
        ("There is no green square.", [True]),
        ("There is no red circle.", [False]),
        ("The red circle is in the top left.", [True, True]),
        ("The red circle is in the top right.", [True, False]),
        ("There are two objects.", [True]),
        ("There are three objects.", [False]),
        ("Two red circles.", [True, False]),
        ("The red circle is left of the blue star.", [True, True, True]),
        ("The red circle is below the blue star.", [True, True, False]),
        ("The blue star is below the green square.", [True, False, False]),
    ],
)
def test_claims_are_held_against_the_facts(facts: Facts, text: str, verdicts: list[bool]) -> None:
    assert [check(claim, facts) for claim in claims(text)] == verdicts


@pytest.mark.parametrize(
    ("text", "verdicts"),
    [
        ("A red circle.", [True]),
        ("A green square.", [None]),
        ("There is no green square.", [None]),
        ("The red circle is large.", [True, None]),
        ("The red circle is in the top left.", [True, None]),
        ("There are two objects.", [None]),
        ("The red circle is above the blue star.", [True, None, None]),
        ("The background is striped.", [None]),
    ],
)
def test_what_the_facts_leave_open_is_neither_true_nor_false(text: str, verdicts: list[bool | None]) -> None:
    assert [check(claim, PARTIAL) for claim in claims(text)] == verdicts


def test_size_comes_from_the_area_of_the_box_and_background_from_captions() -> None:
    assert [check(claim, BOXED) for claim in claims("The red circle is large. The blue star is small.")] == [True] * 4
    assert [check(claim, BOXED) for claim in claims("A striped background.")] == [False]


def test_a_stated_relation_counts_both_ways_round() -> None:
    facts = facts_of(["A red circle above a blue star.", "Two objects."])
    assert [check(claim, facts) for claim in claims("The blue star is below the red circle.")][-1] is True
    assert [check(claim, facts) for claim in claims("The blue star is above the red circle.")][-1] is False
    assert [check(claim, facts) for claim in claims("The blue star is left of the red circle.")][-1] is None


def test_boxes_of_other_worlds_are_passed_over() -> None:
    facts = facts_of(["A donut."], [Box(category="donut", box=(0.1, 0.1, 0.2, 0.2))])
    assert facts.things == () and not facts.complete
