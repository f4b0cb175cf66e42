"""Objects that answers claim, and what of it captions and boxes support."""

from __future__ import annotations

import pytest

from configs.schema import LanguageCode
from model.records import AnnotatedImage, Box, Turn
from tasks.generate.checks.names import names_of
from tasks.generate.checks.objects import Lexicon

# ruff: noqa: RUF001
EVERYWHERE = (0.1, 0.1, 0.9, 0.9)


def image(*captions: str, boxes: tuple[str, ...] = ()) -> AnnotatedImage:
    return AnnotatedImage(
        id="1", part="", span=(0, 0), format="jpg", width=1, height=1, sha256="", captions=captions,
        boxes=tuple(Box(category=category, box=EVERYWHERE) for category in boxes),
    )


def claimed(answer: str, code: LanguageCode = "en", categories: tuple[str, ...] = ()) -> list[str]:
    turns = (Turn(role="human", text="Is there a zebra?"), Turn(role="gpt", text=answer))
    return Lexicon(code, categories).claimed(turns)


def unsupported(answer: str, about: AnnotatedImage, code: LanguageCode = "en") -> tuple[str, ...]:
    return Lexicon(code).unsupported(list(dict.fromkeys(claimed(answer, code))), about)


@pytest.mark.parametrize("code", ["en", "zh"])
def test_both_lexicons_name_the_same_80_categories(code: LanguageCode) -> None:
    categories = {category for allowed in names_of(code).claims.values() for category in allowed}
    assert len(categories) == 80
    assert categories == {category for allowed in names_of("en").claims.values() for category in allowed}


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Two dogs and a puppy.", ["dog", "dog"]),
        ("He eats a hot dog.", ["hot dog"]),
        ("A teddy bear sits on the couch.", ["teddy bear", "couch"]),
        ("The women wait.", ["person"]),
        ("The shirt is orange and the walls are glass.", []),
        ("There is no dog.", []),
        ("The cat is without a tie, and neither cup nor bowl is there.", ["cat"]),
        ("A catalogue of doghouses.", []),
    ],
)
def test_names_are_whole_words_longest_first_and_not_negated(answer: str, wanted: list[str]) -> None:
    assert claimed(answer) == wanted


def test_questions_claim_nothing() -> None:
    assert claimed("Yes.") == []


def test_chinese_names_are_found_within_the_text() -> None:
    assert claimed("两只猫睡在沙发上，旁边有一条狗。", "zh") == ["cat", "couch", "dog"]
    assert claimed("图中没有狗。", "zh") == []


def test_other_categories_of_the_boxes_are_names_too() -> None:
    assert claimed("Two traffic cones.", categories=("traffic cone", "dog")) == ["traffic cone"]
    known = Lexicon("en", ["traffic cone"])
    assert known.unsupported(["traffic cone"], image("A traffic cone on the road.")) == ()
    assert known.unsupported(["traffic cone"], image("A road.")) == ("traffic cone",)


def test_captions_and_boxes_support_what_they_name_in_other_words_too() -> None:
    about = image("A skier goes down the slope.", boxes=("backpack",))
    assert unsupported("The man has skis and a rucksack.", about) == ()
    assert unsupported("The man has a dog and a kite, and another dog.", about) == ("dog", "kite")


def test_english_captions_support_chinese_answers_and_chinese_captions_too() -> None:
    assert unsupported("一只狗和一把雨伞。", image("A puppy in the rain."), "zh") == ("umbrella",)
    assert unsupported("一只狗和一把雨伞。", image("小狗在雨伞下面。"), "zh") == ()
