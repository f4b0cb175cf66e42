from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.flops import LANGUAGES, TOWERS
from model.memory import Setup
from tasks.errors import TrainingError
from tasks.train.rows import Choice, choices_of, estimated, first_choice, halve, ran_out
from tasks.train.survey import Survey

FIRST = Choice(row_tokens=1024, why="given")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    first_choice(tmp_path / "rows.jsonl", FIRST, given=True)
    return tmp_path / "rows.jsonl"


def test_each_halving_is_kept_with_its_step(path: Path) -> None:
    halve(path, 7, [[600, 400], [300]])
    halve(path, 7, [[300, 200], [400]])
    assert [(choice.row_tokens, choice.step) for choice in choices_of(path)] == [(1024, None), (500, 7), (250, 7)]


def test_a_row_that_was_shorter_than_its_budget_is_halved_itself(path: Path) -> None:
    # Half of 1,024 would give the same row again.
    assert halve(path, 1, [[200, 100]]).row_tokens == 150


def test_rows_of_one_sample_cannot_get_shorter(path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step 3: a row of one sample of 900 tokens does not fit .* max_length"):
        halve(path, 3, [[900], [800], []])
    assert choices_of(path) == [FIRST]


def test_a_stage_that_is_gone_on_with_packs_as_before_unless_it_is_asked_for_something_else(path: Path) -> None:
    halve(path, 7, [[600, 400]])
    halved = choices_of(path)
    assert first_choice(path, FIRST, given=True) == halved
    # What a device's memory suggests may be another number at every start.
    assert first_choice(path, Choice(row_tokens=2048, why="estimated"), given=False) == halved
    assert first_choice(path, Choice(row_tokens=512, why="given"), given=True)[-1].row_tokens == 512


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 400000000000000 bytes."),
    ],
)
def test_every_allocator_s_words_for_no_memory_are_understood(error: Exception) -> None:
    assert ran_out(error)


def test_what_torch_s_cpu_allocator_really_says_is_understood() -> None:
    with pytest.raises(RuntimeError) as told:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert ran_out(told.value)


def test_other_errors_are_not_taken_for_it() -> None:
    assert not ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_device_that_takes_no_row_is_an_error_that_names_what_to_do() -> None:
    survey = Survey(np.arange(3), np.array([500, 600, 700]), np.array([100, 100, 100]))
    setup = Setup(bytes=2, zero=2, ranks=8, language_trains=True, trained=6.7e9)
    language, tower = LANGUAGES["vicuna-7b"], TOWERS["clip-vit-large-patch14-336"]
    with pytest.raises(TrainingError, match=r"no row fits into 20.0 GB .* row_tokens to a number"):
        estimated(language, tower, setup, survey, 1.0, 20e9)
    assert estimated(language, tower, setup, survey, 1.0, 80e9).row_tokens >= 4096
