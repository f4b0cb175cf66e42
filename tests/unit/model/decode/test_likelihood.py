"""Likelihoods of given answers are those of a pass over prompt and answer together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.build import load
from model.decode import HuggingFaceAnswerer, Question
from model.records import Turn
from model.templates import template_named
from tests.unit.model.decode.test_answerer import questions

ANSWERS = [["A", "B"], ["the ball", "the small green cube", "B"], ["C"]]


@torch.inference_mode()
def by_whole_pass(folder: Path, question: Question, answer: str) -> tuple[float, int]:
    """The sum over the answer's tokens from one unpadded pass without a cache."""
    assembled = load(folder)
    prompts = assembled.conversations(template_named("bare"))
    prompt = prompts.prompt([Turn(role="human", text=question.text)])
    tokens = prompts.answer(answer)
    shown = {}
    if question.image is not None:
        shown["pixel_values"] = assembled.transform()(question.image.read_bytes()).unsqueeze(0)
    logits = assembled.llava.eval()(input_ids=torch.tensor([prompt + tokens]), **shown).logits[0]
    told = torch.log_softmax(logits.double(), dim=-1)[len(prompt) - 1 : -1]
    return float(told[torch.arange(len(tokens)), torch.tensor(tokens)].sum()), len(tokens)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_the_shared_prompt_changes_no_likelihood(model: Path, batch: int) -> None:
    asked = questions(model, 9)
    given = [ANSWERS[number % 3] for number in range(9)]
    found = dict(HuggingFaceAnswerer(model, "bare").likelihoods(asked, given, batch))
    assert sorted(found) == list(range(9))
    for number, question in enumerate(asked):
        for likelihood, answer in zip(found[number], given[number], strict=True):
            expected, tokens = by_whole_pass(model, question, answer)
            assert likelihood.tokens == tokens
            assert likelihood.log_probability == pytest.approx(expected, abs=1e-4)
