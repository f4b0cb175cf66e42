from __future__ import annotations

import pytest

from tasks.world.claims import (
    BackgroundClaim,
    Claim,
    CountClaim,
    Mention,
    PlaceClaim,
    RelationClaim,
    SizeClaim,
    ThingClaim,
)
from tasks.world.facts import claims, mentions

RED_CIRCLE = Mention("red", "circle")
BLUE_STAR = Mention("blue", "star")
RED = Mention("red")
CIRCLE = Mention(shape="circle")
STAR = Mention(shape="star")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A large red circle and a star.", [Mention("red", "circle", "large"), STAR]),
        ("The circle is red.", [RED_CIRCLE]),
        ("The red object is a circle.", [RED_CIRCLE]),
        ("The circle is large and red.", [Mention("red", "circle", "large")]),
        ("Something red is there.", [Mention(colour="red")]),
        ("A big red circle.", [Mention("red", "circle", "large")]),
        ("A red circle top left and a blue star bottom right.",
         [Mention("red", "circle", None, "top left"), Mention("blue", "star", None, "bottom right")]),
        ("In the top-left corner there is a red circle.", [Mention("red", "circle", None, "top left")]),
        ("In the top left is a red circle, in the bottom right a blue star.",
         [Mention("red", "circle", None, "top left"), Mention("blue", "star", None, "bottom right")]),
        ("There is a red circle. It is large.", [Mention("red", "circle", "large")]),
        ("There is no red circle.", []),
        ("The cat sat on the mat.", []),
        ("", []),
    ],
)
def test_mentions(text: str, expected: list[Mention]) -> None:
    assert mentions(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("There is no red circle.", [ThingClaim(RED_CIRCLE, False)]),
        ("No, there is no red circle.", [ThingClaim(RED_CIRCLE, False)]),
        ("The circle is not red.", [ThingClaim(CIRCLE), ThingClaim(RED_CIRCLE, False)]),
        ("The red circle is small.", [ThingClaim(RED_CIRCLE), SizeClaim(RED_CIRCLE, "small")]),
        ("The red circle is in the upper left.", [ThingClaim(RED_CIRCLE), PlaceClaim(RED_CIRCLE, "top left")]),
        ("The red circle is not in the top left.", [ThingClaim(RED_CIRCLE)]),
        ("There are three objects.", [CountClaim(3)]),
        ("There are 3 objects in the picture.", [CountClaim(3)]),
        ("Three shapes on a striped background.", [CountClaim(3), BackgroundClaim("striped")]),
        ("Two red circles.", [ThingClaim(RED_CIRCLE), CountClaim(2, RED_CIRCLE)]),
        ("Two objects are left.", []),
        ("A red circle to the left of a blue star.",
         [ThingClaim(RED_CIRCLE), ThingClaim(BLUE_STAR), RelationClaim(RED_CIRCLE, "left of", BLUE_STAR)]),
        ("Above the star there is a circle.",
         [ThingClaim(STAR), ThingClaim(CIRCLE), RelationClaim(CIRCLE, "above", STAR)]),
        ("The star is top left. The circle is to the right of it.",
         [ThingClaim(STAR), PlaceClaim(STAR, "top left"), ThingClaim(CIRCLE), RelationClaim(CIRCLE, "right of", STAR)]),
        ("The red circle is blue.", [ThingClaim(RED_CIRCLE), ThingClaim(Mention("blue", "circle"))]),
        ("The circle is red and the star is blue.", [ThingClaim(RED_CIRCLE), ThingClaim(BLUE_STAR)]),
        ("The red object is large and the circle is small.",
         [ThingClaim(RED), SizeClaim(RED, "large"), ThingClaim(CIRCLE), SizeClaim(CIRCLE, "small")]),
        ("Yes.", []),
        ("asdf qwer !!", []),
    ],
)
def test_claims_of_a_text_alone(text: str, expected: list[Claim]) -> None:
    assert claims(text) == expected


def test_a_subject_keeps_its_second_relation() -> None:
    made = claims("The red circle is left of the blue star and above the green square.")
    green = Mention("green", "square")
    assert RelationClaim(RED_CIRCLE, "left of", BLUE_STAR) in made and RelationClaim(RED_CIRCLE, "above", green) in made
    assert not any(isinstance(claim, RelationClaim) and claim.first == BLUE_STAR for claim in made)


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("What colour is the circle?", "Red.", [ThingClaim(RED_CIRCLE)]),
        ("What color is the circle?", "It is red.", [ThingClaim(RED_CIRCLE)]),
        ("What shape is the red object?", "A circle.", [ThingClaim(RED_CIRCLE)]),
        ("Where is the red circle?", "In the top left.", [PlaceClaim(RED_CIRCLE, "top left")]),
        ("How many objects are in the picture?", "Two.", [CountClaim(2)]),
        ("How many circles are there?", "2", [CountClaim(2, CIRCLE)]),
        ("Is there a red circle in the picture?", "No.", [ThingClaim(RED_CIRCLE, False)]),
        ("Is there a red circle in the picture?", "Yes, there is a red circle.", [ThingClaim(RED_CIRCLE)]),
        ("Is the red circle left or right of the blue star?", "Left.",
         [RelationClaim(RED_CIRCLE, "left of", BLUE_STAR)]),
        ("How many objects are left without the red circle?", "Two objects are left.", [CountClaim(3)]),
        ("Which way is it from the red circle to the blue star?", "Down.",
         [RelationClaim(BLUE_STAR, "below", RED_CIRCLE)]),
        ("What colour is the circle?", "I do not know.", []),
    ],
)
def test_a_question_completes_a_short_answer(question: str, answer: str, expected: list[Claim]) -> None:
    assert claims(answer, question) == expected


def test_a_whole_sentence_claims_the_same_with_and_without_its_question() -> None:
    assert claims("The circle is red.", "What colour is the circle?") == claims("The circle is red.")
