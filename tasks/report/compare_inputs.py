"""What the page of a comparison shows: plain values and local paths."""

from __future__ import annotations

from pathlib import Path

from tasks.artifacts import Frozen


class ComparedRow(Frozen):
    """One row of a benchmark, in percent and percent points. `difference` is the second less the first."""

    name: str
    whole: bool
    n: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float
    holm: float | None
    benjamini_hochberg: float | None
    first_only: int | None
    second_only: int | None
    needed: int | None

    @property
    def ok(self) -> bool:
        """False where the second is shown to be worse: how the bar is coloured."""
        return self.high >= 0


class Answered(Frozen):
    """What one model said, and what came of it."""

    text: str
    choice: str | None
    outcome: str
    scores: tuple[float, float] | None
    """The judge's, of the reference and of this answer."""
    words: str
    """The judge's reasons."""


class Flipped(Frozen):
    """An example on which the two differ."""

    id: str
    image: Path | None
    question: str
    options: tuple[tuple[str, str], ...]
    truth: str
    """Letter of the right choice, or the reference answer where there are none."""
    gain: float
    first: Answered
    second: Answered


class ComparedBenchmark(Frozen):
    """One benchmark of both."""

    name: str
    judged: bool
    rows: tuple[ComparedRow, ...]
    """The whole set last."""
    flips: tuple[Flipped, ...]
    notes: tuple[str, ...] = ()


class ComparePage(Frozen):
    """Everything on the page."""

    first: str
    second: str
    confidence: float
    benchmarks: tuple[ComparedBenchmark, ...]
    notes: tuple[str, ...] = ()
