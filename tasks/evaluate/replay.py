"""Score a file of ScienceQA predictions: which answers count, what they scored, and what the reader must know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue

from tasks.errors import ScoringError
from tasks.evaluate.extraction import OUTSIDE, Parsed, Rule, parse_answer
from tasks.evaluate.json_files import named
from tasks.evaluate.predictions import Predictions
from tasks.evaluate.rates import with_bounds
from tasks.evaluate.report import BenchmarkReport
from tasks.evaluate.scienceqa import (
    Marked,
    Outcome,
    Problems,
    breakdown,
    mark,
    share_of,
    size_differences,
    topics,
)
from tasks.statistics import examples_needed

STORED_NONE = "the file stores no choice"


class Source(StrEnum):
    """Where the choice is taken from."""

    OUTPUTS = "outputs"
    STORED = "stored"


class Missing(StrEnum):
    """What a question without a prediction is."""

    ERROR = "error"
    WRONG = "wrong"


@dataclass(frozen=True)
class Replay:
    """A scored file: its outcomes by pid, and the report of them."""

    marked: dict[str, Marked]
    report: BenchmarkReport


@dataclass(frozen=True)
class OtherSource:
    """What a file gives from the source that was not asked for: the two often differ, and both get quoted."""

    name: str
    right: int


def mark_predictions(
    problems: Problems, predictions: Predictions, source: Source, rule: Rule, missing: Missing
) -> dict[str, Marked]:
    """The outcome of every question.

    Raises ScoringError when the file has nothing of that source, or when predictions are missing and that is an error.
    """
    there = predictions.texts if source is Source.OUTPUTS else predictions.stored
    if not there:
        other = Source.STORED if source is Source.OUTPUTS else Source.OUTPUTS
        what = "texts" if source is Source.OUTPUTS else "stored choices"
        raise ScoringError(f"{predictions.path} holds no {what}; score it with --from {other}")
    absent = [pid for pid in problems if pid not in there]
    if absent and missing is Missing.ERROR:
        raise ScoringError(
            f"{predictions.path} lacks predictions for {len(absent)} of {len(problems)} questions: pid {named(absent)}"
            "; --missing wrong counts them as wrong"
        )
    return {pid: _marked(problems, predictions, source, rule, pid) for pid in problems}


def replay(
    problems: Problems,
    predictions: Predictions,
    source: Source,
    rule: Rule,
    missing: Missing,
    confidence: float = 0.95,
) -> Replay:
    """Score a file of predictions. Raises ScoringError as `mark_predictions` does."""
    marked = mark_predictions(problems, predictions, source, rule, missing)
    rows = breakdown(problems, marked, confidence=confidence)
    settings: dict[str, JsonValue] = {
        "from": source.value,
        "rule": rule.value if source is Source.OUTPUTS else None,
        "missing": missing.value,
        "confidence": confidence,
    }
    report = BenchmarkReport(
        rows=rows,
        topics=topics(problems, marked, confidence=confidence),
        rates={outcome.value: share_of(outcome, marked) for outcome in (Outcome.UNPARSED, Outcome.MISSING)},
        counts=_counts(problems, predictions, marked),
        settings=settings,
        notes=_notes(problems, marked),
    )
    return Replay(marked, with_bounds(report, len(marked), confidence))


def other_source(problems: Problems, predictions: Predictions, taken: Source, rule: Rule) -> OtherSource | None:
    """How many are right by the other source, None where the file has none."""
    other = Source.STORED if taken is Source.OUTPUTS else Source.OUTPUTS
    if not (predictions.stored if other is Source.STORED else predictions.texts):
        return None
    marked = mark_predictions(problems, predictions, other, rule, Missing.WRONG)
    return OtherSource(source_name(other, rule), sum(answer.outcome is Outcome.RIGHT for answer in marked.values()))


def source_name(source: Source, rule: Rule) -> str:
    """Where the choices came from, in words."""
    return "its stored choices" if source is Source.STORED else f"its texts, rule {rule.value}"


def _marked(problems: Problems, predictions: Predictions, source: Source, rule: Rule, pid: str) -> Marked:
    problem = problems[pid]
    if source is Source.OUTPUTS:
        if pid not in predictions.texts:
            return Marked(Outcome.MISSING)
        return mark(problem, parse_answer(predictions.texts[pid], problem.choices, rule))
    if pid not in predictions.stored:
        return Marked(Outcome.MISSING)
    index = predictions.stored[pid]
    if 0 <= index < len(problem.choices):
        return mark(problem, Parsed(index))
    return mark(problem, Parsed(None, OUTSIDE if index >= 0 else STORED_NONE))


def _counts(problems: Problems, predictions: Predictions, marked: Mapping[str, Marked]) -> dict[str, int]:
    counts = {outcome.value: sum(answer.outcome is outcome for answer in marked.values()) for outcome in Outcome}
    for answer in marked.values():
        if answer.reason:
            counts[answer.reason] = counts.get(answer.reason, 0) + 1
    extra = sum(pid not in problems for pid in predictions.pids)
    return {"questions": len(problems), **counts, **({"not of this split": extra} if extra else {})}


def _notes(problems: Problems, marked: Mapping[str, Marked]) -> tuple[str, ...]:
    notes = [f"not the published test split: {difference}" for difference in size_differences(problems)]
    for outcome in (Outcome.UNPARSED, Outcome.MISSING):
        if pids := [pid for pid, answer in marked.items() if answer.outcome is outcome]:
            notes.append(f"{len(pids)} {outcome.value}, counted as wrong: pid {named(pids)}")
    if outside := [pid for pid, answer in marked.items() if answer.reason == OUTSIDE]:
        notes.append(f"{len(outside)} of the unparsed name a letter {OUTSIDE}: pid {named(outside)}")
    return (*notes, *size_note(len(problems), sum(answer.outcome is Outcome.RIGHT for answer in marked.values())))


def size_note(n: int, right: int) -> tuple[str, ...]:
    """One sentence if a set is too small to tell two models apart that differ by one point."""
    needed = examples_needed(right / n)
    if n >= needed:
        return ()
    return (
        f"a difference of one point to another model takes about {needed} questions to be seen (80 % power; fewer "
        f"where both answer the same ones); here are {n}",
    )
