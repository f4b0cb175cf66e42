"""Asking in batches changes neither the answers nor their order."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.records import IMAGE_TOKEN
from tasks.evaluate.answers import Prompt, answer_all
from tests.fakes.models import Model

IMAGE = Path("a.png")


def test_answers_come_back_in_the_order_of_asking() -> None:
    prompts = [Prompt("x" * (17 - number), None, 8) for number in range(17)]
    model = Model(lambda prompt: str(len(prompt.text)))
    assert answer_all(model, prompts, 4, lambda done: None) == [str(17 - number) for number in range(17)]


def test_batches_hold_like_prompts_and_no_more_than_asked_for() -> None:
    seeing = [Prompt(f"{IMAGE_TOKEN}\n{'x' * number}", IMAGE, 8) for number in (9, 1, 5)]
    reading = [Prompt("x" * number, None, 8) for number in (2, 8, 4)]
    model = Model(lambda prompt: prompt.text)
    done: list[int] = []
    answer_all(model, [seeing[0], reading[0], seeing[1], reading[1], seeing[2], reading[2]], 2, done.append)
    assert [len(batch) for batch in model.batches] == [2, 1, 2, 1]
    assert all(len({prompt.image for prompt in batch}) == 1 for batch in model.batches)
    assert [len(prompt.text) for prompt in model.batches[2]] == [2, 4]
    assert done == [2, 3, 5, 6]


def test_an_image_and_its_token_belong_together() -> None:
    with pytest.raises(AssertionError, match="1 image token"):
        Prompt("no token", IMAGE, 8)
    with pytest.raises(AssertionError, match="0 image token"):
        Prompt(f"{IMAGE_TOKEN}\ntoken", None, 8)


def test_a_model_that_leaves_answers_out_is_noticed() -> None:
    class Lazy:
        def answer(self, prompts: object) -> list[str]:
            return ["one"]

    with pytest.raises(ValueError, match="zip"):
        answer_all(Lazy(), [Prompt("a", None, 8), Prompt("b", None, 8)], 8, lambda done: None)
