"""Answers of the running batch of a server are those of one question at a time, whoever comes and goes meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from PIL import Image

from model.build import Assembled, load
from model.chat_prompt import ChatPrompt, Message
from model.decode import HuggingFaceAnswerer, Question
from model.decode.forward import Forward
from model.decode.live import LiveBatch, LiveJob, Picture, keep_ends
from model.sampling import Sampling
from tests.unit.model.decode.test_answerer import questions


@pytest.fixture(scope="module")
def assembled(model: Path) -> Assembled:
    loaded = load(model)
    loaded.llava.eval()
    return loaded


def batch_of(assembled: Assembled, size: int) -> LiveBatch:
    return LiveBatch(Forward(assembled.llava), keep_ends(None, assembled.tokenizer.eos_token_id), size)


def jobs(assembled: Assembled, folder: Path, asked: list[Question]) -> list[LiveJob]:
    prompt = ChatPrompt(assembled, folder)
    made = []
    for number, question in enumerate(asked):
        pictures = []
        if question.image is not None:
            with Image.open(question.image) as opened:
                pictures.append(Picture(question.image.name, assembled.transform().of(opened.convert("RGB"))))
        ids = prompt.ids([Message("user", question.text.removeprefix("<image>\n"), len(pictures))])
        made.append(LiveJob(str(number), tuple(ids), tuple(pictures), question.max_new_tokens, question.sampling))
    return made


def words(assembled: Assembled, tokens: list[int]) -> str:
    return str(assembled.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


@pytest.mark.parametrize("sampling", [None, Sampling(0.9, 0.8, seed=4)])
def test_answers_are_those_of_the_batch_that_is_known_beforehand(
    model: Path, assembled: Assembled, sampling: Sampling | None
) -> None:
    asked = questions(model, 80, sampling)
    expected = [words.strip() for _, words in sorted(HuggingFaceAnswerer(model, "bare").answer(asked, batch=24))]
    live, draw, coming = batch_of(assembled, 12), random.Random(2), jobs(assembled, model, asked)
    found: dict[str, list[int]] = {job.name: [] for job in coming}
    while coming or not live.idle:
        for _ in range(min(len(coming), draw.randrange(4))):
            live.add(coming.pop(0))
        for told in live.step():
            found[told.name].append(told.token)
    assert [words(assembled, found[str(number)]) for number in range(80)] == expected
    assert len(set(expected)) > 50, "the test would show little if all answers were alike"


def test_who_is_called_off_frees_a_place_and_changes_no_other_answer(model: Path, assembled: Assembled) -> None:
    asked = [Question(f"which shape {number}", None, 20) for number in range(9)]
    expected = [words.strip() for _, words in sorted(HuggingFaceAnswerer(model, "bare").answer(asked, batch=1))]
    live = batch_of(assembled, 3)
    for job in jobs(assembled, model, asked):
        live.add(job)
    found: dict[str, list[int]] = {}
    live.step()
    live.drop("0")
    live.drop("7")
    live.drop("no such question")
    while not live.idle:
        for told in live.step():
            found.setdefault(told.name, []).append(told.token)
    assert "0" not in found and "7" not in found
    assert {name: words(assembled, tokens) for name, tokens in found.items() if name > "2"} == {
        str(number): expected[number] for number in (3, 4, 5, 6, 8)
    }


def test_a_long_prompt_joins_short_ones_under_way(model: Path, assembled: Assembled) -> None:
    asked = [Question("ball", None, 24), Question("green cube " * 40, None, 8)]
    expected = [words.strip() for _, words in sorted(HuggingFaceAnswerer(model, "bare").answer(asked, batch=1))]
    live, (short, long) = batch_of(assembled, 4), jobs(assembled, model, asked)
    found: dict[str, list[int]] = {"0": [], "1": []}
    live.add(short)
    for step in range(40):
        if step == 2:
            live.add(long)
        for told in live.step() if not live.idle else []:
            found[told.name].append(told.token)
    assert [words(assembled, tokens) for tokens in found.values()] == expected
