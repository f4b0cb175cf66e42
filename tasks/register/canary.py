"""A few examples that a version answers when it is registered, and has to answer likewise once it is the champion.

The answers are those of the packaged model itself, asked through MLflow as a user would ask it. Decoding is greedy.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from model.records import IMAGE_TOKEN
from tasks.artifacts import Frozen
from tasks.register.evidence import EXAMPLES, Example

CANARY = "canary.json"


class Probe(Frozen):
    """One question. `image` is a base64-encoded image file, or "" for none."""

    image: str
    prompt: str
    answer: str = ""


class Canary(Frozen):
    """What lies in canary.json: the questions with the answers of registration, and how they are asked and counted."""

    probes: tuple[Probe, ...] = ()
    tokens: int = 16
    """Longest answer."""
    share: float = 1.0
    """Share of the questions that has to be answered likewise."""


def choose(evaluation: Path, count: int) -> tuple[Probe, ...]:
    """The first examples of an evaluation, from each benchmark in turn; those with an image come first."""
    if not count:
        return ()
    columns = [_probes(path, evaluation, count) for path in sorted((evaluation / EXAMPLES).glob("*.jsonl"))]
    return tuple(probe for row in zip_longest(*columns) for probe in row if probe is not None)[:count]


def answered(uri: str, canary: Canary) -> Canary:
    """The canary with what the packaged model answers now."""
    answers = ask(uri, canary.probes, canary.tokens)
    probes = zip(canary.probes, answers, strict=True)
    return canary.model_copy(update={"probes": tuple(one.model_copy(update={"answer": text}) for one, text in probes)})


def ask(uri: str, probes: Sequence[Probe], tokens: int) -> list[str]:
    """What the packaged model at a folder or a `models:/` uri answers."""
    import pandas  # type: ignore[import-untyped]
    from mlflow import pyfunc

    model: Any = pyfunc.load_model(uri)
    rows = pandas.DataFrame([{"image": probe.image, "prompt": probe.prompt} for probe in probes])
    answers = model.predict(rows, params={"max_new_tokens": tokens, "temperature": 0.0})
    return [str(answer) for answer in answers]


def differing(probes: Sequence[Probe], answers: Sequence[str]) -> list[str]:
    """The prompts that are not answered as they were at registration."""
    return [probe.prompt for probe, answer in zip(probes, answers, strict=True) if probe.answer != answer]


def _probes(path: Path, evaluation: Path, count: int) -> list[Probe]:
    with path.open(encoding="utf-8") as lines:
        examples = [Example.model_validate_json(line) for line in lines if line.strip()]
    examples.sort(key=lambda example: example.image is None)
    return [_probe(example, evaluation) for example in examples[:count]]


def _probe(example: Example, evaluation: Path) -> Probe:
    picture = None if example.image is None else evaluation / example.image
    image = "" if picture is None or not picture.is_file() else base64.b64encode(picture.read_bytes()).decode()
    return Probe(image=image, prompt=example.prompt.replace(IMAGE_TOKEN, "").strip())
