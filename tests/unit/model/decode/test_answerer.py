"""Answers of a running batch are those of one question at a time, by transformers' own `generate`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from model.build import load
from model.decode import HuggingFaceAnswerer, Question
from model.decode.engine import Engine
from model.errors import ModelError
from model.records import Turn
from model.sampling import Sampling
from model.templates import template_named

WORDS = ["ball", "cube", "small", "green", "which", "is", "left", "of", "the", "red", "shape"]


def questions(folder: Path, count: int, sampling: Sampling | None = None) -> list[Question]:
    """Of all lengths, two in three with an image, each with a bound of its own on the answer."""
    draw = random.Random(1)
    made = []
    for number in range(count):
        words = " ".join(draw.choices(WORDS, k=draw.randrange(1, 30))) + f" {number}?"
        image = folder.parent / f"{draw.randrange(6)}.png" if number % 3 else None
        question = Question("<image>\n" * (image is not None) + words, image, draw.randrange(1, 25))
        made.append(question if sampling is None else Question(question.text, image, 24, sampling=sampling))
    return made


@torch.inference_mode()
def one_by_one(folder: Path, asked: Sequence[Question]) -> list[str]:
    """As the published scripts do it: a call of `generate` a question, without any padding."""
    assembled = load(folder)
    prompts, llava = assembled.conversations(template_named("bare")), assembled.llava.eval()
    answers = []
    for question in asked:
        begun = prompts.answer(question.begun) if question.begun else []
        ids = torch.tensor([prompts.prompt([Turn(role="human", text=question.text)]) + begun])
        shown: dict[str, Any] = {}
        if question.image is not None:
            shown["pixel_values"] = assembled.transform()(question.image.read_bytes()).unsqueeze(0)
        found: Any = llava.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=question.max_new_tokens,
            do_sample=False, **shown,
        )
        words = str(assembled.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))
        answers.append(words.removeprefix(" "))
    return answers


def in_order(answers: dict[int, str]) -> list[str]:
    return [answers[number] for number in sorted(answers)]


def test_200_answers_of_a_running_batch_are_those_of_one_at_a_time(model: Path) -> None:
    asked = questions(model, 200)
    expected = one_by_one(model, asked)
    found = dict(HuggingFaceAnswerer(model, "bare").answer(asked, batch=24))
    assert in_order(found) == expected
    lengths = {len(answer) for answer in expected}
    assert len(set(expected)) > 150 and len(lengths) > 20, "the test would show little if all answers were alike"


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_the_size_of_the_batch_changes_no_answer(model: Path, batch: int) -> None:
    asked = questions(model, 60)
    answerer = HuggingFaceAnswerer(model, "bare")
    assert dict(answerer.answer(asked, batch=batch)) == dict(answerer.answer(asked, batch=24))


def test_drawn_answers_depend_on_seed_and_prompt_and_on_nothing_else(model: Path) -> None:
    answerer = HuggingFaceAnswerer(model, "bare")
    asked = questions(model, 40, Sampling(temperature=1.0, top_p=0.9, seed=1))
    whole = dict(answerer.answer(asked, batch=16))
    alone = dict(answerer.answer(list(reversed(asked[10:20])), batch=3))
    assert [alone[9 - number] for number in range(10)] == [whole[10 + number] for number in range(10)]
    other = dict(answerer.answer(questions(model, 40, Sampling(temperature=1.0, top_p=0.9, seed=2)), batch=16))
    assert sum(whole[number] != other[number] for number in range(40)) > 30
    cold = dict(answerer.answer(questions(model, 40, Sampling(temperature=1e-4, seed=1)), batch=16))
    greedy = dict(answerer.answer([Question(one.text, one.image, 24) for one in asked], batch=16))
    assert cold == greedy


def test_an_answer_is_bounded_by_its_own_question(model: Path) -> None:
    answerer = HuggingFaceAnswerer(model, "bare")
    free = [Question(one.text, one.image, 24) for one in questions(model, 20)]
    whole = dict(answerer.answer(free))
    longest = max(whole, key=lambda number: len(whole[number]))
    asked = [Question(free[longest].text, free[longest].image, bound) for bound in (2, 5, 9, 24)]
    answers = in_order(dict(answerer.answer(asked)))
    assert len(set(answers)) == 4
    assert all(answers[3].startswith(answer) for answer in answers)


def test_answers_come_as_they_end_not_at_the_end_of_all(model: Path) -> None:
    asked = [Question("which?", None, 30), *[Question(f"is {number}?", None, 1) for number in range(5)]]
    arriving = HuggingFaceAnswerer(model, "bare").answer(asked, batch=2)
    first, _ = next(arriving)
    assert first != 0
    assert sorted(number for number, _ in arriving) == sorted({0, 1, 2, 3, 4, 5} - {first})


def test_an_answer_that_is_begun_goes_on_where_it_was(model: Path) -> None:
    answerer = HuggingFaceAnswerer(model, "bare")
    asked = [
        Question(one.text, one.image, 12, begun=begun)
        for one in questions(model, 8)
        for begun in ("", "the ball is", "cube")
    ]
    answers = in_order(dict(answerer.answer(asked)))
    assert answers == one_by_one(model, asked)
    assert len(set(answers)) > 12


def test_a_prompt_longer_than_the_model_s_positions_is_refused(model: Path) -> None:
    with pytest.raises(ModelError, match="leaves no room for an answer in 1024 positions"):
        list(HuggingFaceAnswerer(model, "bare").answer([Question("ball " * 2000, None, 4)]))


def test_a_batch_that_is_not_refilled_gives_the_same_answers(model: Path) -> None:
    answerer = HuggingFaceAnswerer(model, "bare")
    asked = questions(model, 40)
    jobs = [answerer._job(number, question) for number, question in enumerate(asked)]
    both = []
    for refill in (True, False):
        engine = Engine(answerer._forward, answerer._transform, answerer._prompts.ended, 8, refill=refill)
        with torch.inference_mode():
            both.append(dict(engine.run(jobs)))
    assert both[0] == both[1]


def test_the_chat_template_of_a_checkpoint_gives_the_prompts_of_training(model: Path) -> None:
    ours, theirs = HuggingFaceAnswerer(model, "bare"), HuggingFaceAnswerer(model, None)
    for text in ("<image>\nwhich shape?", "which shape is left?"):
        assert theirs._prompts.ids(text, "") == ours._prompts.ids(text, "")
        assert theirs._prompts.ids(text, "the ball") == ours._prompts.ids(text, "the ball")
