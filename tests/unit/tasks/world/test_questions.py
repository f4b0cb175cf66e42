from __future__ import annotations

import random
from collections import Counter

import pytest

from model.questions import Problem, prompt_of, target_of
from tasks.world.captions import captions
from tasks.world.facts import Facts, check, claims, facts_of
from tasks.world.questions import SCENE_TOPICS, TEXT_TOPICS, TOPICS, UNSEEN, Evidence, make_problem
from tasks.world.scene import ALL_PAIRS, HELD_OUT, Scene, make_scene
from tasks.world.testsets import boxes_of
from tasks.world.words import NUMBERS

TRAINING = [make_scene(7, "train", index, "training") for index in range(300)]
HELD = [make_scene(7, "test", index, "held_out") for index in range(150)]


def asked(scenes: list[Scene], evidence: Evidence, topics: dict[str, object]) -> list[tuple[Scene, Problem]]:
    rng = random.Random(1)
    made = [(scene, make_problem(scene, topic, rng, evidence)) for scene in scenes for topic in topics]
    return [(scene, problem) for scene, problem in made if problem is not None]


SIGHTED = asked(TRAINING, "image", dict(SCENE_TOPICS))
HINTED = asked(TRAINING, "hint", dict(SCENE_TOPICS))
BLIND = asked(TRAINING, "none", dict(TEXT_TOPICS))
UNSEEN_ONES = asked(HELD, "image", dict(SCENE_TOPICS))


def said(problem: Problem, choice: str) -> str:
    """A choice as a statement: short where the question completes it, else as the solution says it."""
    if problem.topic == "presence":
        return f"There is a {choice}."
    if problem.topic in ("colours", "corner"):
        return problem.solution.replace(problem.choices[problem.answer], choice)
    return f"{choice}."


def truth(scene: Scene) -> Facts:
    return facts_of(captions(scene), boxes_of(scene))


def verdicts(problem: Problem, facts: Facts) -> list[bool | None]:
    """For each choice: does it hold, read as an answer to the question?"""
    read = []
    for choice in problem.choices:
        read.append(all(check(claim, facts) for claim in claims(said(problem, choice), problem.question)))
    return list(read)


@pytest.mark.parametrize("made", [SIGHTED, HINTED, UNSEEN_ONES], ids=["image", "hint", "unseen"])
def test_exactly_the_right_choice_is_true_of_the_scene(made: list[tuple[Scene, Problem]]) -> None:
    for scene, problem in made:
        expected = [place == problem.answer for place in range(len(problem.choices))]
        assert verdicts(problem, truth(scene)) == expected, (problem.question, problem.choices)


def test_a_hint_settles_its_question_and_the_others_have_none() -> None:
    for _, problem in HINTED:
        assert problem.image is None
        facts = facts_of([problem.hint])
        right = problem.choices[problem.answer]
        if problem.topic == "count":
            # An enumeration settles the number without saying it.
            assert NUMBERS.index(right) == (facts.count or len(facts.things)), problem
        else:
            assert all(check(claim, facts) is True for claim in claims(said(problem, right), problem.question)), problem


def test_text_and_image_contexts_overlap_with_hints_that_settle_nothing() -> None:
    hints = Counter(problem.hint for _, problem in SIGHTED)
    assert 0.2 < 1 - hints[""] / len(SIGHTED) < 0.4
    assert all(not facts_of([hint]).things for hint in hints)
    assert all(problem.image == "image.png" for _, problem in SIGHTED)


def test_the_solution_states_a_true_fact() -> None:
    for scene, problem in SIGHTED:
        made = claims(problem.solution)
        assert made and all(check(claim, truth(scene)) is True for claim in made), problem.solution


def test_right_answers_are_at_every_letter_equally_often() -> None:
    for size in (2, 3, 4):
        letters = Counter(p.answer for _, p in SIGHTED + BLIND if len(p.choices) == size)
        share = sum(letters.values()) / size
        assert all(0.8 * share < letters[place] < 1.2 * share for place in range(size)), (size, letters)


def test_the_question_alone_does_not_give_the_colour_away() -> None:
    for shape in ("circle", "square", "triangle", "star"):
        answers = Counter(
            p.choices[p.answer] for _, p in SIGHTED if p.question == f"What colour is the {shape}?"
        )
        assert max(answers.values()) < 0.4 * sum(answers.values())


def test_training_questions_complete_no_held_out_pair_even_as_a_wrong_choice() -> None:
    held_out = {" ".join(pair) for pair in HELD_OUT}
    for _, problem in SIGHTED + HINTED:
        words = problem.question.rstrip("?").split()
        said = {f"{choice} {words[-1]}" for choice in problem.choices} if problem.topic == "colour" else set()
        said |= {f"{words[4]} {choice}" for choice in problem.choices} if problem.topic == "shape" else set()
        text = " ".join([problem.question, problem.hint, *problem.choices])
        assert not said & held_out and not any(pair in text for pair in held_out)


def test_questions_in_scenes_with_held_out_pairs_ask_about_those_and_are_marked() -> None:
    marked = [problem for _, problem in UNSEEN_ONES if problem.topic != "count"]
    assert {problem.skill for problem in marked} == {UNSEEN}
    assert all(problem.skill != UNSEEN for _, problem in SIGHTED)


def test_a_topic_that_a_scene_does_not_admit_gives_none() -> None:
    twins = next(s for s in TRAINING if len(s.things) == 2 and len({thing.shape for thing in s.things}) == 1)
    alone = next(scene for scene in TRAINING if len(scene.things) == 1)
    assert make_problem(twins, "colour", random.Random(0), "image") is None
    assert make_problem(alone, "relation", random.Random(0), "image") is None
    assert make_problem(alone, "words", random.Random(0), "image") is None
    assert make_problem(alone, "colour", random.Random(0), "none") is None


@pytest.mark.parametrize("made", [SIGHTED, HINTED, BLIND], ids=["image", "hint", "none"])
def test_fields_are_as_scienceqa_has_them(made: list[tuple[Scene, Problem]]) -> None:
    for _, problem in made:
        topic = TOPICS[problem.topic]
        assert 2 <= len(problem.choices) <= 4 and len(set(problem.choices)) == len(problem.choices)
        assert 1 <= topic.lowest_grade <= int(problem.grade.removeprefix("grade")) <= topic.highest_grade <= 12
        assert problem.subject in ("natural science", "social science", "language science")
        assert len(problem.question.split()) <= 15
        assert prompt_of(problem, "QCM-A") and target_of(problem, "QCM-LEA").endswith(".")


def test_subjects_and_both_grade_bands_occur() -> None:
    problems = [problem for _, problem in SIGHTED + BLIND]
    assert len({problem.subject for problem in problems}) == 3
    assert {int(problem.grade[5:]) > 6 for problem in problems} == {True, False}


def test_text_questions_are_many_and_say_nothing_of_held_out_pairs() -> None:
    assert len({(problem.question, problem.choices) for _, problem in BLIND}) > 0.8 * len(BLIND)
    assert len({problem.question for _, problem in BLIND}) > 100
    pairs = {" ".join(pair) for pair in ALL_PAIRS}
    assert not any(pair in problem.question for _, problem in BLIND for pair in pairs)


def test_the_same_generator_state_gives_the_same_problem() -> None:
    first, second = (make_problem(TRAINING[0], "colour", random.Random(5), "image") for _ in range(2))
    assert first == second and first is not None
