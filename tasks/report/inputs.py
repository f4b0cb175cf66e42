"""What a report shows: plain values and local paths. `collect` reads most of them out of artifact folders."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.artifacts import Frozen
from tasks.report.data_review import DataReview
from tasks.report.evaluation_inputs import EvaluationDetails


class Score(Frozen):
    """One row of a results table, in percent. `value` is None where the score is withheld."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    random: float | None = None
    blind: float | None = None
    blind_low: float | None = None
    blind_high: float | None = None
    whole: bool = False
    """The row stands for the whole benchmark."""


class Benchmark(Frozen):
    """One benchmark's table."""

    name: str
    rows: tuple[Score, ...]
    rates: dict[str, float] = Field(default_factory=dict)
    """Shares in percent: unparsed, missing, failed."""
    rate_bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """Their intervals."""
    settings: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Compared(Frozen):
    """Challenger minus champion in one row, in percent points, with its bounds. `name` is "benchmark/row"."""

    name: str
    difference: float
    low: float
    high: float
    n: int
    ok: bool


class Reason(Frozen):
    """One check of the gate."""

    ok: bool
    text: str


class Decision(Frozen):
    """What the gate decided, and what became of the alias."""

    verdict: str
    """promote, hold or needs_approval."""
    version: str
    """The challenger's version in the registry."""
    champion_before: str | None = None
    champion_after: str | None = None
    reasons: tuple[Reason, ...] = ()
    compared: tuple[Compared, ...] = ()


class Curve(Frozen):
    """A figure of training by step."""

    stage: str
    points: tuple[tuple[int, float], ...]
    """(step, loss), by step."""
    facts: dict[str, str] = Field(default_factory=dict)
    """Shown under the chart: samples, trainable parameters, tokens a second."""


class Watched(Frozen):
    """A held-out sample and what was answered to it while a stage trained: (steps, answer), earliest first."""

    stage: str
    key: str
    image: Path | None
    question: str
    wanted: str
    answers: tuple[tuple[int, str], ...]


class Conversation(Frozen):
    """A sample that the teacher wrote."""

    id: str
    kind: str
    image: bytes | None
    turns: tuple[tuple[str, str], ...]
    """(human or gpt, words)."""


class Conversations(Frozen):
    """What came of the teacher."""

    accepted: int = 0
    rejected: dict[str, int] = Field(default_factory=dict)
    """Reason to number."""
    samples: tuple[Conversation, ...] = ()


class Answer(Frozen):
    """A multiple-choice question, and what the model said with the image and without."""

    id: str
    image: Path | None
    question: str
    options: tuple[tuple[str, str], ...] = ()
    """(letter, words)."""
    truth: str
    """The letter of the right choice."""
    said: str
    choice: str | None
    outcome: str
    """right, wrong, unparsed or missing."""
    blind_said: str | None = None
    blind_choice: str | None = None
    blind_outcome: str | None = None


class Review(Frozen):
    """An answer that a judge read beside the reference."""

    id: str
    image: Path | None
    category: str
    question: str
    reference: str
    answer: str
    scores: tuple[float, float] | None
    """Of the reference and of the answer; None if the judgement failed."""
    words: str
    """The judge's reasons."""
    blind_answer: str | None = None
    blind_scores: tuple[float, float] | None = None


class Stage(Frozen):
    """One stage of the run: its lineage, what it took, whether it was run at all."""

    name: str
    cached: bool
    reason: str = ""
    """Why it was built, or that nothing changed."""
    seconds: float = 0.0
    """In this run; what a cached one took to look up."""
    made_seconds: float | None = None
    """What it took to make, whenever that was."""
    usd: float | None = None
    detail: str = ""
    """What it made, in a few words: 4,000 images, 1,200 conversations."""
    digest: str | None = None
    parents: dict[str, str] = Field(default_factory=dict)
    code: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    created: str | None = None
    """UTC, ISO 8601."""


class ReportInput(Frozen):
    """Everything on the page. Whatever is empty is left out of it."""

    experiment: str
    description: str = ""
    run: str
    started: str = ""
    """UTC, ISO 8601."""
    seconds: float = 0.0
    seed: int = 0
    decision: Decision | None = None
    benchmarks: tuple[Benchmark, ...] = ()
    curves: tuple[Curve, ...] = ()
    watched: tuple[Watched, ...] = ()
    conversations: Conversations = Conversations()
    review: DataReview | None = None
    """What goes onto a page of its own, beside the report."""
    answers: tuple[Answer, ...] = ()
    """Any number; the report chooses."""
    reviews: tuple[Review, ...] = ()
    """Any number; the report chooses."""
    details: EvaluationDetails = EvaluationDetails()
    stages: tuple[Stage, ...] = ()
    usd: float | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    look: dict[str, str] = Field(default_factory=dict)
    """What one may look at next, to the command or address for it."""
