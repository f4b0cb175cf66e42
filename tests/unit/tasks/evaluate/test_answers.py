"""Asking in batches changes neither the answers nor their order."""

from __future__ import annotations

from collections.abc import Iterator
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


def test_progress_hears_of_every_answer() -> None:
    done: list[int] = []
    answer_all(Model(lambda prompt: prompt.text), [Prompt("a", None, 8)] * 4, 2, done.append)
    assert done == [1, 2, 3, 4]


def test_an_image_and_its_token_belong_together() -> None:
    with pytest.raises(AssertionError, match="1 image token"):
        Prompt("no token", IMAGE, 8)
    with pytest.raises(AssertionError, match="0 image token"):
        Prompt(f"{IMAGE_TOKEN}\ntoken", None, 8)


def test_a_model_that_leaves_answers_out_is_noticed() -> None:
    class Lazy:
        def answer(self, prompts: object, batch: int) -> Iterator[tuple[int, str]]:
            yield 0, "one"

    with pytest.raises(AssertionError, match="1 prompts were left without an answer"):
        answer_all(Lazy(), [Prompt("a", None, 8), Prompt("b", None, 8)], 8, lambda done: None)
