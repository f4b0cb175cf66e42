"""The token budget of a row: chosen once, and halved where a device runs out of memory.

It stands in a file beside the survey, one line a choice, so that a stage that is gone on with packs as before. How rows
are packed changes no result. Why the workers start anew after a halving: docs/decisions/0012-out-of-memory.md.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from model.flops import LanguageShape, Tower
from model.memory import GB, RowLoad, Setup, row_budget
from tasks.artifacts import Frozen
from tasks.errors import TrainingError
from tasks.train.survey import Survey

FULL = ("can't allocate memory", "cannot allocate memory", "out of memory")
"""What allocators that have no error of their own say."""


class Choice(Frozen):
    """A row budget, and why. `step` (from 1) is the one that ran out of memory before; None for the first choice."""

    row_tokens: int
    why: str
    step: int | None = None


def choices_of(path: Path) -> list[Choice]:
    """All choices so far, oldest first; empty without a file."""
    if not path.exists():
        return []
    return [Choice.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def first_choice(path: Path, first: Choice, *, given: bool) -> list[Choice]:
    """Write the first choice, unless the file is there already and the experiment asks for nothing else.

    `given`: the experiment names the number itself.
    """
    found = choices_of(path)
    if found and (not given or found[0].row_tokens == first.row_tokens):
        return found
    _write(path, [first])
    return [first]


def halve(path: Path, step: int, rows: Sequence[Sequence[int]]) -> Choice:
    """Write down the budget after step number `step` (from 1) did not fit. `rows` are the lengths of samples by row.

    Raises TrainingError where each row holds a single sample already, which no budget makes shorter.
    """
    longest = max((sum(row) for row in rows), default=0)
    if all(len(row) <= 1 for row in rows):
        raise TrainingError(
            f"step {step}: a row of one sample of {longest} tokens does not fit into the memory; lower the stage's "
            "max_length, take a DeepSpeed file that partitions or offloads more, or a larger device"
        )
    found = choices_of(path)
    # A row may be shorter than its budget: half of what was tried, or the same row would be tried again.
    made = Choice(row_tokens=max(1, min(found[-1].row_tokens, longest) // 2), why="out of memory", step=step)
    _write(path, [*found, made])
    return made


def ran_out(error: Exception) -> bool:
    """Whether an error of a step says that there was no memory: a GPU's, torch's CPU allocator's, or Python's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in FULL)


def estimated(
    language: LanguageShape, vision: Tower, setup: Setup, survey: Survey, images: float, device: float
) -> Choice:
    """The budget for a device of so many bytes. Raises TrainingError where not even the smallest row fits."""
    length = float(survey.lengths.mean())
    sample = RowLoad(length, float(survey.supervised.mean()), images)
    found = row_budget(language, vision, setup, sample, device)
    if found is None:
        raise TrainingError(
            f"no row fits into {device / GB:.1f} GB by the estimate; take a DeepSpeed file that partitions or offloads "
            "more, more workers, or set row_tokens to a number to try it all the same"
        )
    return Choice(row_tokens=found, why=f"estimated for {device / GB:.1f} GB")


def _write(path: Path, choices: Sequence[Choice]) -> None:
    """All at once: several workers may run out of memory in one step, and write the same."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.write_text("".join(choice.model_dump_json() + "\n" for choice in choices), encoding="utf-8")
    made.replace(path)
