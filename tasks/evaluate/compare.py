"""Two models on the same examples: differences with intervals and p-values, and the examples on which they differ.

Only examples that both were asked, with the same words and the same right answer, are compared; the rest is counted.
A row of right-or-wrong answers is tested by McNemar's exact test, one of judged answers by random changes of sign of
the paired differences; both correct over the categories of their benchmark by Holm's method, with Benjamini and
Hochberg's beside. The row of the whole set is one question of its own and is not corrected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from tasks.artifacts import Frozen
from tasks.errors import ScoringError
from tasks.evaluate.report import BenchmarkReport, Example, Report, read_examples, read_report, rounded
from tasks.statistics import (
    benjamini_hochberg,
    examples_needed,
    examples_needed_ratio,
    holm,
    mcnemar_exact,
    paired_difference,
    paired_p_value,
)

WHOLE = ("avg", "all")
RIGHT = "right"
FAILED = "failed"
BOUNDS_ONLY = {
    "bootstrap", "bootstrap_seed", "confidence", "interval", "limit", "blind", "max_failed_share", "rules",
}
"""Settings that shape intervals, or which examples were asked; every other one that differs is told."""
MOST_DIFFERENT = 12
"""Judged answers that are listed, those first that the judge sees farthest apart."""


class Row(Frozen):
    """One row of a benchmark, in percent and percent points; A is the first model."""

    name: str
    whole: bool
    n: int
    first: float
    second: float
    difference: float
    """B minus A."""
    low: float
    high: float
    p_value: float
    holm: float | None
    """Corrected over the categories; None for the whole set."""
    benjamini_hochberg: float | None
    first_only: int | None = None
    """Examples that only A has right; None for judged answers."""
    second_only: int | None = None
    needed: int | None = None
    """Examples that it would take to see a difference of one point, where there are fewer."""


class Flip(Frozen):
    """An example on which the two differ."""

    first: Example
    second: Example
    gain: float
    """1 where only B is right, -1 where only A is; of judged answers the difference in shares of the reference."""


class Compared(Frozen):
    """One benchmark of both."""

    name: str
    rows: tuple[Row, ...]
    flips: tuple[Flip, ...]
    judged: bool
    notes: tuple[str, ...] = ()


class Comparison(Frozen):
    """Two evaluations."""

    first: str
    second: str
    confidence: float
    benchmarks: tuple[Compared, ...]
    notes: tuple[str, ...] = ()


class _Pair(Frozen):
    first: Example
    second: Example


def compare(
    first: Path, second: Path, names: tuple[str, str], confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare two folders of EvalReports.

    Raises ScoringError if one is none, or the two have no benchmark, or no example of a benchmark, in common.
    """
    reports = _read(first), _read(second)
    shared = [name for name in reports[0].benchmarks if name in reports[1].benchmarks]
    if not shared:
        asked = " and ".join(", ".join(report.benchmarks) or "none" for report in reports)
        raise ScoringError(f"the two evaluations have no benchmark in common ({asked}); evaluate both on the same")
    alone = [
        f"{name} was measured for {names[at]} only"
        for at, report in enumerate(reports)
        for name in report.benchmarks
        if name not in shared
    ]
    benchmarks = tuple(
        _benchmark(
            name, (reports[0].benchmarks[name], reports[1].benchmarks[name]),
            (read_examples(first, name), read_examples(second, name)), names, confidence, resamples, seed,
        )
        for name in shared
    )
    return Comparison(
        first=names[0], second=names[1], confidence=confidence, benchmarks=benchmarks, notes=tuple(alone)
    )


def _benchmark(
    name: str,
    reports: tuple[BenchmarkReport, BenchmarkReport],
    examples: tuple[Sequence[Example], Sequence[Example]],
    names: tuple[str, str],
    confidence: float,
    resamples: int,
    seed: int,
) -> Compared:
    pairs, notes = _paired(name, examples, names)
    judged = any(example.sighted.scores is not None for example in examples[0])
    if judged:
        usable = [pair for pair in pairs if pair.first.sighted.scores and pair.second.sighted.scores]
        if len(usable) < len(pairs):
            notes.append(f"{len(pairs) - len(usable)} left out: a judgement failed for one of both")
        pairs = usable
    if not pairs:
        raise ScoringError(f"{name}: the two evaluations have no example in common; evaluate both on the same set")
    there = list(dict.fromkeys(group for pair in pairs for group in pair.first.groups))
    groups = sorted(there, key=[*reports[0].rows, *reports[0].topics, *there].index)
    whole = next((row for row in WHOLE if row in reports[0].rows), WHOLE[-1])
    members = {group: [pair for pair in pairs if group in pair.first.groups] for group in groups}
    options = {"confidence": confidence, "resamples": resamples, "seed": seed}
    rows = [_row(group, found, judged, options) for group, found in members.items()]
    rows = [*_corrected(rows), _row(whole, pairs, judged, options).model_copy(update={"whole": True})]
    notes += _different_settings(reports, names)
    return Compared(
        name=name, rows=tuple(rows), flips=tuple(_flips(pairs, judged)), judged=judged, notes=tuple(notes)
    )


def _paired(
    name: str, examples: tuple[Sequence[Example], Sequence[Example]], names: tuple[str, str]
) -> tuple[list[_Pair], list[str]]:
    others = {example.id: example for example in examples[1]}
    both = [(example, others[example.id]) for example in examples[0] if example.id in others]
    pairs = [_Pair(first=one, second=other) for one, other in both if _question(one) == _question(other)]
    notes = []
    for at, lacking in enumerate((len(examples[0]) - len(both), len(examples[1]) - len(both))):
        if lacking:
            notes.append(f"{lacking} examples were asked of {names[at]} only; left out")
    if len(pairs) < len(both):
        notes.append(f"{len(both) - len(pairs)} examples of one id are different questions; left out")
    return pairs, notes


def _question(example: Example) -> tuple[str, str]:
    """What is asked and what is right: equal ids of different questions are not taken for equal."""
    return example.correct, example.prompt


def _row(name: str, pairs: Sequence[_Pair], judged: bool, options: Mapping[str, float | int]) -> Row:
    first = [_points(pair.first) for pair in pairs]
    second = [_points(pair.second) for pair in pairs]
    columns = [([got for got, _ in points], [of for _, of in points]) for points in (first, second)]
    shares = [sum(got) / sum(of) if sum(of) else 0.0 for got, of in columns]
    low, high = paired_difference(
        columns[1], columns[0], confidence=options["confidence"], resamples=int(options["resamples"]),
        seed=int(options["seed"]),
    )
    common = {
        "name": name, "whole": False, "n": len(pairs), "first": rounded(shares[0]), "second": rounded(shares[1]),
        "difference": rounded(shares[1] - shares[0]), "low": rounded(low), "high": rounded(high), "holm": None,
        "benjamini_hochberg": None,
    }
    if judged:
        p = paired_p_value(_gains(pairs), seed=int(options["seed"]))
        needed = examples_needed_ratio(*columns[0])
        return Row(**common, p_value=p, needed=needed if needed > len(pairs) else None)
    first_only = sum(one > other for (one, _), (other, _) in zip(first, second, strict=True))
    second_only = sum(one < other for (one, _), (other, _) in zip(first, second, strict=True))
    # Where none differ yet, one that did would be the least: a sample cannot show that models never differ.
    discordant = max(first_only + second_only, 1) / len(pairs)
    needed = examples_needed(shares[0], discordant=discordant)
    return Row(
        **common, p_value=mcnemar_exact(first_only, second_only), first_only=first_only, second_only=second_only,
        needed=needed if needed > len(pairs) else None,
    )


def _corrected(rows: Sequence[Row]) -> list[Row]:
    p_values = [row.p_value for row in rows]
    return [
        row.model_copy(update={"holm": strict, "benjamini_hochberg": lenient})
        for row, strict, lenient in zip(rows, holm(p_values), benjamini_hochberg(p_values), strict=True)
    ]


def _points(example: Example) -> tuple[float, float]:
    """What an example adds to a score, and to what it is measured by."""
    if example.sighted.scores is not None:
        reference, answer = example.sighted.scores
        return answer, reference
    return float(example.sighted.outcome == RIGHT), 1.0


def _gains(pairs: Sequence[_Pair]) -> list[float]:
    """Difference per example, each model's answer as a share of what the judge gave the reference on the average."""
    points = [(_points(pair.first), _points(pair.second)) for pair in pairs]
    means = [sum(point[at][1] for point in points) / len(points) or 1.0 for at in (0, 1)]
    return [other[0] / means[1] - one[0] / means[0] for one, other in points]


def _flips(pairs: Sequence[_Pair], judged: bool) -> list[Flip]:
    """What only one of both has right, losses first; of judged answers those farthest apart."""
    gains = _gains(pairs)
    found = [
        Flip(first=pair.first, second=pair.second, gain=gain) for pair, gain in zip(pairs, gains, strict=True) if gain
    ]
    if judged:
        return sorted(found, key=lambda flip: -abs(flip.gain))[:MOST_DIFFERENT]
    return sorted(found, key=lambda flip: flip.gain)


def _different_settings(reports: tuple[BenchmarkReport, BenchmarkReport], names: tuple[str, str]) -> list[str]:
    first, second = (report.settings for report in reports)
    return [
        f"{name.replace('_', ' ')} differs: {_shown(first.get(name))} for {names[0]}, {_shown(second.get(name))} for "
        f"{names[1]}"
        for name in sorted(first.keys() | second.keys())
        if name not in BOUNDS_ONLY and first.get(name) != second.get(name)
    ]


def _shown(value: JsonValue) -> str:
    return "unset" if value is None else str(value)


def _read(folder: Path) -> Report:
    try:
        return read_report(folder)
    except (OSError, ValidationError) as error:
        raise ScoringError(
            f"{folder} holds no evaluation that can be read ({str(error).splitlines()[0]}); give the folder of an "
            "EvalReport, a run's id, or a version in the registry"
        ) from error
