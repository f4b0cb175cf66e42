from __future__ import annotations

import random

import pytest

from tasks.world.knowledge import CORNERS, KNOWLEDGE, MIXED, SPOKEN_OPPOSITES, Quiz
from tasks.world.words import NUMBERS

QUIZZES = {topic: [make(random.Random(seed)) for seed in range(400)] for topic, make in KNOWLEDGE.items()}
ALL = [quiz for quizzes in QUIZZES.values() for quiz in quizzes]


def starting(text: str) -> list[Quiz]:
    found = [quiz for quiz in ALL if quiz.question.startswith(text)]
    assert found, text
    return found


def test_the_right_choice_is_not_among_the_wrong_ones_and_none_is_twice() -> None:
    assert all(len({quiz.right, *quiz.wrong}) == 1 + len(quiz.wrong) and 2 <= len(quiz.wrong) <= 3 for quiz in ALL)


def test_the_solution_names_the_right_choice() -> None:
    assert all(quiz.right in quiz.solution.lower() for quiz in ALL)


def test_only_the_right_word_starts_or_ends_with_the_letter() -> None:
    for quiz in starting("Which word starts with"):
        letter = quiz.question[-2]
        assert quiz.right[0] == letter and all(word[0] != letter for word in quiz.wrong)
    for quiz in starting("Which word ends with"):
        letter = quiz.question[-2]
        assert quiz.right[-1] == letter and all(word[-1] != letter for word in quiz.wrong)


def test_letters_are_counted() -> None:
    for quiz in starting("How many letters"):
        assert NUMBERS.index(quiz.right) == len(quiz.question.removesuffix("?").split()[-1])


def test_the_first_word_of_the_alphabet_is_first() -> None:
    assert all(quiz.right < min(quiz.wrong) for quiz in starting("Which word comes first"))


def test_numbers_are_right() -> None:
    for quiz in starting("Which number comes after"):
        assert NUMBERS.index(quiz.right) == NUMBERS.index(quiz.question.removesuffix("?").split()[-1]) + 1
    for quiz in starting("Which number is the largest"):
        assert NUMBERS.index(quiz.right) > max(NUMBERS.index(word) for word in quiz.wrong)


@pytest.mark.parametrize("shape", sorted(CORNERS))
def test_corners(shape: str) -> None:
    quizzes = [quiz for quiz in starting("How many") if f"does a {shape} have" in quiz.question]
    assert quizzes and {quiz.right for quiz in quizzes} == {NUMBERS[CORNERS[shape]]}


def test_mixed_colours_have_one_answer() -> None:
    for quiz in starting("Which colour do"):
        _, _, _, first, _, second, _ = quiz.question.split()
        assert set(MIXED[quiz.right]) == {first, second}
        assert all(set(MIXED.get(wrong, ())) != {first, second} for wrong in quiz.wrong)


def test_opposites_are_mutual() -> None:
    assert all(SPOKEN_OPPOSITES[SPOKEN_OPPOSITES[word]] == word for word in SPOKEN_OPPOSITES)
    for quiz in starting("Which word is the opposite"):
        assert SPOKEN_OPPOSITES[quiz.question.removesuffix("?").split()[-1]] == quiz.right
