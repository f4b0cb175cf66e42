"""What the report shows of an evaluation beside its tables of results: plain values and local paths."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tasks.artifacts import Frozen


class TopicRow(Frozen):
    """One topic of a benchmark, in percent."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    random: float | None = None
    blind: float | None = None


class Measure(Frozen):
    """A further figure of a benchmark: "random, f1"."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int


class Topics(Frozen):
    """The topics and further figures of one benchmark."""

    benchmark: str
    rows: tuple[TopicRow, ...] = ()
    measures: tuple[Measure, ...] = ()


class EnsembleRow(Frozen):
    """A result in the columns of the official breakdown. `published` ones are of the official test split."""

    name: str
    cells: tuple[float | None, ...]
    published: bool


class BranchRow(Frozen):
    """By which rule answers were taken, how often, and how many were right."""

    name: str
    count: int
    right: int


class EnsembleTable(Frozen):
    """The model and a text-only LLM together."""

    benchmark: str
    scheme: str
    columns: tuple[str, ...]
    rows: tuple[EnsembleRow, ...]
    branches: tuple[BranchRow, ...]
    oracle: float | None
    difference: tuple[float, float, float]
    """Ensemble less the model alone, in points, with its interval."""
    difference_read: tuple[float, float, float]
    """The same with seeded guesses counted as wrong."""
    guesses: int
    """Answers that are seeded guesses."""
    guesses_right: int
    p_value: float
    facts: dict[str, str] = Field(default_factory=dict)
    comparable: bool = False
    """The questions are those of the published rows."""


class Unread(Frozen):
    """An answer that no rule could read."""

    benchmark: str
    id: str
    image: Path | None
    question: str
    said: str
    reason: str


class Captioned(Frozen):
    """A photo with what its boxes hold and what the model said of it."""

    id: str
    image: Path | None
    there: str
    """The objects that have boxes."""
    said: str
    named: str
    """The objects that the caption names."""
    right: bool
    blind_said: str | None = None


class EvaluationDetails(Frozen):
    """Everything of an evaluation that is not in its tables of results. Whatever is empty is left out."""

    topics: tuple[Topics, ...] = ()
    ensembles: tuple[EnsembleTable, ...] = ()
    captions: tuple[Captioned, ...] = ()
    """Some of them, right and wrong ones in the share that they have."""
    unread: tuple[Unread, ...] = ()
    """The first of them; `unread_in_all` counts all."""
    unread_in_all: int = 0
