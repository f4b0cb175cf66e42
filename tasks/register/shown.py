"""Answered examples for the model card: some right, some wrong, as they stand in the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model.records import IMAGE_TOKEN
from tasks.artifacts import Frozen
from tasks.register.evidence import EXAMPLES, Example

LENGTH = 300
ANSWERED = {"right", "wrong", "unparsed"}
"""Outcomes that are right or wrong; what cannot be read counts as wrong, as it does in the score."""


class Shown(Frozen):
    """An example in the card."""

    right: bool
    prompt: str
    correct: str
    answer: str


def read_shown(evaluation: Path, each: int = 3) -> tuple[Shown, ...]:
    """The first so many right and so many wrong answers of an evaluation's benchmarks, right ones first."""
    found: dict[bool, list[Shown]] = {True: [], False: []}
    for path in sorted((evaluation / EXAMPLES).glob("*.jsonl")):
        for shown in _shown(path):
            if len(found[shown.right]) < each:
                found[shown.right].append(shown)
    return (*found[True], *found[False])


def _shown(path: Path) -> Iterator[Shown]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                continue
            example = Example.model_validate_json(line)
            if example.sighted.outcome in ANSWERED:
                yield Shown(
                    right=example.sighted.outcome == "right", prompt=_short(example.prompt),
                    correct=_short(example.correct), answer=_short(example.sighted.text),
                )


def _short(text: str) -> str:
    """One line of bounded length."""
    line = " ".join(text.replace(IMAGE_TOKEN, "").split())
    return line if len(line) <= LENGTH else line[: LENGTH - 1] + "…"
