"""Each rule reads what its source reads, and nothing more."""

from __future__ import annotations

import pytest

from tasks.evaluate.extraction import EMPTY, NO_ANSWER, OUTSIDE, Parsed, Rule, parse_answer

CHOICES = ("red fox", "blue whale", "green frog")


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", 1),
        ("B. blue whale", 1),
        ("LECTURE: long. The answer is C.", 2),
        ("The answer is C)", 2),
    ],
)
def test_llava_takes_a_letter_a_leading_letter_or_the_sentence(text: str, choice: int) -> None:
    assert parse_answer(text, CHOICES, Rule.LLAVA) == Parsed(choice)


@pytest.mark.parametrize(
    "text",
    [
        "b", " B", "B.", "B.blue", "(B)", "B is it",
        "The answer is B",  # the published pattern wants one more character
        "The answer is A. No: The answer is B.",
        "the answer is B.",
        "blue whale",
    ],
)
def test_llava_is_strict(text: str) -> None:
    assert parse_answer(text, CHOICES, Rule.LLAVA) == Parsed(None, NO_ANSWER)


def test_the_official_rule_knows_the_sentence_only() -> None:
    assert parse_answer("The answer is B. BECAUSE: of it.", CHOICES, Rule.OFFICIAL) == Parsed(1)
    for text in ("B", "B. blue whale", "The answer is B. The answer is B."):
        assert parse_answer(text, CHOICES, Rule.OFFICIAL) == Parsed(None, NO_ANSWER)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("B", 1), (" b ", 1), ("(B)", 1), ("B.", 1), ("B) blue", 1), ("(C) green", 2), ("A: red", 0),
        ("B is the one.", 1),
        ("Answer: C", 2), ("the answer is (b)", 1), ("The answer is: option B", 1),
        ("Blue whale.", 1), ("It must be a green frog, I think", 2),
    ],
)
def test_lenient_accepts_what_a_person_would(text: str, choice: int) -> None:
    assert parse_answer(text, CHOICES, Rule.LENIENT) == Parsed(choice)


@pytest.mark.parametrize("text", ["a red fox or a blue whale", "answer: A; no, answer: B", "no idea", "whale blue"])
def test_lenient_does_not_guess(text: str) -> None:
    assert parse_answer(text, CHOICES, Rule.LENIENT).choice is None


@pytest.mark.parametrize("rule", Rule)
def test_a_letter_outside_the_choices_is_no_answer(rule: Rule) -> None:
    assert parse_answer("The answer is D.", CHOICES, rule) == Parsed(None, OUTSIDE)
    assert parse_answer("The answer is Z.", CHOICES, rule) == Parsed(None, OUTSIDE)


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_told_apart(rule: Rule, text: str) -> None:
    assert parse_answer(text, CHOICES, rule) == Parsed(None, EMPTY)
