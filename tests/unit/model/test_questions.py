"""The wording is the published one: ScienceQA's create_one_example, LLaVA's convert_sqa_to_llava, and its eval."""

from __future__ import annotations

from typing import get_args

import pytest

from model.questions import Problem, PromptFormat, letter, prompt_of, target_of

PROBLEM = Problem(
    question="Which is  red?",
    choices=("the ball", "the cube"),
    answer=1,
    hint="Look\nclosely.",
    image="image.png",
    lecture="Colours differ.",
    solution="The cube is red.",
)


def test_a_prompt_holds_question_context_and_options() -> None:
    wanted = "<image>\nWhich is red?\nContext: Look\nclosely.\nOptions: (A) the ball (B) the cube"
    assert prompt_of(PROBLEM, "QCM-LEA") == wanted


def test_without_a_hint_the_context_is_not_available() -> None:
    assert "\nContext: N/A\n" in prompt_of(PROBLEM.model_copy(update={"hint": ""}), "QCM-A")


def test_cqm_puts_the_context_first_and_asks_for_the_letter() -> None:
    assert prompt_of(PROBLEM, "CQM-A") == (
        "<image>\nContext: Look\nclosely.\nWhich is red?\nA. the ball\nB. the cube\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert "Context" not in prompt_of(PROBLEM.model_copy(update={"hint": " "}), "CQM-A")


@pytest.mark.parametrize("prompt_format", get_args(PromptFormat))
def test_the_blind_prompt_differs_by_the_image_token_alone(prompt_format: PromptFormat) -> None:
    blind = prompt_of(PROBLEM, prompt_format, with_image=False)
    assert prompt_of(PROBLEM, prompt_format) == "<image>\n" + blind
    assert prompt_of(PROBLEM.model_copy(update={"image": None}), prompt_format) == blind


@pytest.mark.parametrize(
    ("prompt_format", "target"),
    [
        ("QCM-A", "The answer is B."),
        ("QCM-E", "The cube is red."),
        ("QCM-EA", "The cube is red. The answer is B."),
        ("QCM-LEA", "Colours differ. The cube is red. The answer is B."),
        ("QCM-LEPA", "LECTURE: Colours differ.\nSOLUTION: The cube is red.\n###\nANSWER: B."),
        ("CQM-A", "B"),
    ],
)
def test_targets_are_worded_as_published(prompt_format: PromptFormat, target: str) -> None:
    assert target_of(PROBLEM, prompt_format) == target


def test_parts_that_a_problem_lacks_leave_no_gap() -> None:
    bare = PROBLEM.model_copy(update={"lecture": "", "solution": " "})
    assert target_of(bare, "QCM-LEA") == "The answer is B."
    assert target_of(bare, "QCM-E") == "The answer is the cube."
    assert target_of(bare, "QCM-LEPA") == "###\nANSWER: B."


def test_double_spaces_of_the_set_are_collapsed_in_prompt_and_target_as_published() -> None:
    spaced = PROBLEM.model_copy(update={"choices": ("the  ball", "the cube"), "solution": "The  cube  is red. "})
    assert "(A) the ball (B)" in prompt_of(spaced, "QCM-A")
    assert target_of(spaced, "QCM-EA") == "The cube is red. The answer is B."


def test_letters_follow_the_choices() -> None:
    assert [letter(index) for index in range(5)] == list("ABCDE")
