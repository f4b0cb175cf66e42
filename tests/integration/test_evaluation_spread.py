"""Several Ray workers answer what one worker answers, in place of each question, and say what went wrong in a line."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from configs.schema import EvaluateConfig
from model.errors import ModelError
from tasks.evaluate.answers import Prompt, Scorer, answer_all
from tasks.evaluate.spread import SpreadAnswerer, Workers
from tasks.evaluate.subject import _opened
from tasks.train.cluster import RaySettings, connect, shut_down
from tests.fakes.tiny_llava import save_tiny_llava

CONFIG = EvaluateConfig(workers=2)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    settings = RaySettings(address=None, temp=tmp_path_factory.mktemp("r"), cpus=3)
    yield Workers(2, 0, partial(connect, settings))
    shut_down()


def prompts(folder: Path) -> list[Prompt]:
    Image.new("RGB", (40, 30), "red").save(folder / "red.png")
    return [
        Prompt(f"<image>\nWhat is {number}?", folder / "red.png", 4 + number % 5)
        if number % 3
        else Prompt(f"What is {number}{'!' * number}?", None, 6)
        for number in range(23)
    ]


def test_the_answers_are_those_of_one_worker(tmp_path: Path, workers: Workers) -> None:
    model = save_tiny_llava(tmp_path / "model")
    open_one = partial(_opened, model, None, CONFIG)
    asked = prompts(tmp_path)
    told: list[int] = []
    spread = SpreadAnswerer(open_one, workers)
    assert answer_all(spread, asked, 4, told.append) == answer_all(open_one(), asked, 4, lambda done: None)
    assert told == list(range(1, len(asked) + 1))
    single = open_one()
    assert isinstance(single, Scorer)
    texts = [prompt for prompt in asked if prompt.image is None]
    choices = [["yes", "no"]] * len(texts)
    by_position, alone = (dict(one.likelihoods(texts, choices, 4)) for one in (spread, single))
    assert sorted(by_position) == list(range(len(texts)))
    for place, found in by_position.items():
        assert [one.tokens for one in found] == [one.tokens for one in alone[place]]
        assert [one.log_probability for one in found] == pytest.approx([one.log_probability for one in alone[place]])


def test_a_worker_s_error_is_the_error(tmp_path: Path, workers: Workers) -> None:
    model = save_tiny_llava(tmp_path / "model")
    spread = SpreadAnswerer(partial(_opened, model, None, CONFIG), workers)
    with pytest.raises(ModelError, match="leaves no room for an answer"):
        answer_all(spread, [Prompt("long " * 400, None, 4)], 4, lambda done: None)
