"""The contract of a benchmark: its questions, how one is put to a model, how an answer is read, what all of them score.

Whoever keeps it is asked, scored, shown in the report, compared and judged by the gate like every other benchmark;
`pope` and `mme` are two files behind it. ScienceQA and LLaVA-Bench end in the same `Part`, but are run by modules of
their own: one asks in several ways and combines answers, the other needs a judge to read an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from configs.schema import EvaluateConfig
from model.records import IMAGE_TOKEN
from tasks.artifacts import digest_of
from tasks.evaluate.answers import Answerer, Prompt, answer_all
from tasks.evaluate.pictures import keep
from tasks.evaluate.report import Answered, BenchmarkReport, Example, Score, rounded
from tasks.statistics import bootstrap_statistic

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
"""Indices of resamples, of shape (resamples, examples)."""

Part = tuple[BenchmarkReport, list[Example]]
"""What a benchmark adds to an evaluation."""


@dataclass(frozen=True)
class Question:
    """One question about one image."""

    id: str
    image: Path
    text: str
    correct: str
    groups: tuple[str, ...]
    """Rows of the table that it counts in, the whole set aside."""


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are drawn."""

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def figure(self, n: int, statistic: Callable[[Rows], Floats]) -> Score:
        """Any figure of `n` examples with its interval; see `tasks.statistics.bootstrap_statistic`."""
        value = float(statistic(np.arange(n, dtype=np.int64)[None, :])[0])
        if np.isnan(value):
            return Score(value=None, n=n)
        drawn = bootstrap_statistic(
            n, statistic, resamples=self.resamples, confidence=self.confidence, seed=self.seed
        )
        if drawn is None:
            return Score(value=rounded(value), n=n)
        return Score(value=rounded(value), low=rounded(drawn.low), high=rounded(drawn.high), n=n)

    def settings(self) -> dict[str, JsonValue]:
        """As the report names them."""
        return {
            "interval": "exact; bootstrap", "confidence": self.confidence, "bootstrap": self.resamples,
            "bootstrap_seed": self.seed,
        }


class Benchmark(Protocol):
    """Questions with answers that can be read without anybody's help. Pure but for the loading, which is its own."""

    @property
    def name(self) -> str:
        """Its name in the report."""

    @property
    def questions(self) -> Sequence[Question]:
        """The questions in the order of their files; ids are unique."""

    @property
    def max_new_tokens(self) -> int:
        """The longest answer, in tokens."""

    def prompt(self, question: Question) -> str:
        """The words of the question to the model, without image token."""

    def parse(self, question: Question, text: str) -> Answered:
        """What a text answers. `outcome` is right, wrong or unparsed."""

    def score(self, answers: Mapping[str, Answered], blind: Mapping[str, Answered] | None = None) -> BenchmarkReport:
        """The report of answers by the id of their question, all of them."""


def bootstrap_of(config: EvaluateConfig, seed: int) -> Bootstrap:
    """How an evaluation draws its intervals."""
    return Bootstrap(config.confidence, config.bootstrap, int(digest_of(["bootstrap", seed])[:8], 16))


def work_of(benchmark: Benchmark, config: EvaluateConfig) -> int:
    """Answers that a benchmark takes, for its progress."""
    return len(benchmark.questions) * (2 if config.blind else 1)


def run_benchmark(
    folder: Path, benchmark: Benchmark, config: EvaluateConfig, answerer: Answerer, progress: Callable[[int], None]
) -> Part:
    """Ask every question, with its image and, if the experiment says so, without; score, and keep the images."""
    questions, most = benchmark.questions, benchmark.max_new_tokens
    seeing = [Prompt(f"{IMAGE_TOKEN}\n{benchmark.prompt(one)}", one.image, most) for one in questions]
    hidden = [Prompt(benchmark.prompt(one), None, most) for one in questions] if config.blind else []
    texts = answer_all(answerer, [*seeing, *hidden], config.batch, progress)
    sighted = read_answers(benchmark, texts[: len(questions)])
    blind = read_answers(benchmark, texts[len(questions) :]) if config.blind else None
    examples = [
        Example(
            id=one.id,
            image=keep(one.image, folder, benchmark.name, "__".join(one.image.parts[-2:])),
            prompt=prompt.text,
            correct=one.correct,
            groups=one.groups,
            sighted=sighted[one.id],
            blind=blind[one.id] if blind else None,
        )
        for one, prompt in zip(questions, seeing, strict=True)
    ]
    report = benchmark.score(sighted, blind)
    settings = {**report.settings, "max_new_tokens": most, "blind": config.blind}
    return report.model_copy(update={"settings": settings}), examples


def read_answers(benchmark: Benchmark, texts: Sequence[str]) -> dict[str, Answered]:
    """Texts, one a question in their order, as answers by id."""
    return {one.id: benchmark.parse(one, text) for one, text in zip(benchmark.questions, texts, strict=True)}
