"""From an EvalReport's folder to the parts of the report that go beyond its tables. Reads documented fields only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, JsonValue

from tasks.report.choose import evenly
from tasks.report.collect import question_of
from tasks.report.evaluation_inputs import (
    BranchRow,
    Captioned,
    EnsembleRow,
    EnsembleTable,
    EvaluationDetails,
    Measure,
    TopicRow,
    Topics,
    Unread,
)
from tasks.report.files import File, Score
from tasks.tracker import dotted

COLUMNS = {
    "nat": "NAT", "soc": "SOC", "lan": "LAN", "txt": "TXT", "img": "IMG", "no": "NO", "g1-6": "G1-6",
    "g7-12": "G7-12", "avg": "Avg",
}
"""Rows of ScienceQA's breakdown, as the paper heads them."""
OURS = {
    "model": "This model", "llm": "The text-only LLM", "complement": "Ensemble, complement", "judge": "Ensemble, judge",
}
CAPTIONS = "captions"
UNREAD_SHOWN, CAPTIONS_SHOWN = 40, 18
READ = {"right", "wrong", "judged"}


class _Ensemble(File):
    scheme: str
    rows: dict[str, dict[str, Score]]
    branches: dict[str, int]
    right: dict[str, int]
    oracle: Score
    difference: Score
    difference_read: Score
    p_value: float
    counts: dict[str, int] = Field(default_factory=dict)
    guesses: dict[str, int] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    published: dict[str, dict[str, float]] = Field(default_factory=dict)
    comparable: bool = False


class _Benchmark(File):
    topics: dict[str, Score] = Field(default_factory=dict)
    measures: dict[str, Score] = Field(default_factory=dict)
    ensemble: _Ensemble | None = None


class _Report(File):
    benchmarks: dict[str, _Benchmark]


class _Said(File):
    text: str
    outcome: str
    choice: str | None = None
    reason: str | None = None
    words: str | None = None


class _Example(File):
    id: str
    image: str | None = None
    prompt: str
    correct: str = ""
    sighted: _Said
    blind: _Said | None = None


def read_details(evaluation: Path) -> EvaluationDetails:
    """Topics, ensembles and answers that could not be read, of a finished evaluation."""
    report = _Report.model_validate_json((evaluation / "report.json").read_text(encoding="utf-8"))
    unread = [one for name in report.benchmarks for one in _unread(evaluation, name)]
    return EvaluationDetails(
        topics=tuple(
            _topics(name, part) for name, part in report.benchmarks.items() if part.topics or part.measures
        ),
        ensembles=tuple(
            _ensemble(name, part.ensemble) for name, part in report.benchmarks.items() if part.ensemble is not None
        ),
        captions=tuple(_captioned(evaluation)),
        unread=tuple(unread[:UNREAD_SHOWN]),
        unread_in_all=len(unread),
    )


def _topics(name: str, part: _Benchmark) -> Topics:
    return Topics(
        benchmark=name,
        rows=tuple(TopicRow(name=topic, **score.model_dump()) for topic, score in part.topics.items()),
        measures=tuple(
            Measure(name=measure, **score.model_dump(exclude={"random", "blind"}))
            for measure, score in part.measures.items()
        ),
    )


def _ensemble(name: str, part: _Ensemble) -> EnsembleTable:
    ours = [
        EnsembleRow(
            name=OURS.get(row, row), cells=_cells({key: one.value for key, one in scores.items()}), published=False
        )
        for row, scores in part.rows.items()
    ]
    paper = [
        EnsembleRow(name=row, cells=_cells(dict(values)), published=True) for row, values in part.published.items()
    ]
    facts = {key: value for key, value in dotted(part.settings) if value not in {"", "null"}}
    counts = {key: str(count) for key, count in (part.counts | part.guesses).items()}
    return EnsembleTable(
        benchmark=name, scheme=part.scheme, columns=tuple(COLUMNS.values()), rows=(*ours, *paper),
        branches=tuple(
            BranchRow(name=branch, count=count, right=part.right.get(branch, 0))
            for branch, count in part.branches.items()
        ),
        oracle=part.oracle.value,
        difference=_bounded(part.difference), difference_read=_bounded(part.difference_read), p_value=part.p_value,
        guesses=part.guesses.get("decided by a guess", 0), guesses_right=part.counts.get("guesses right", 0),
        facts=counts | facts, comparable=part.comparable,
    )


def _bounded(score: Score) -> tuple[float, float, float]:
    return score.value or 0.0, score.low or 0.0, score.high or 0.0


def _cells(values: dict[str, float | None]) -> tuple[float | None, ...]:
    return tuple(values.get(column) for column in COLUMNS)


def _captioned(evaluation: Path) -> Iterator[Captioned]:
    for example in evenly(list(_examples(evaluation, CAPTIONS)), CAPTIONS_SHOWN):
        yield Captioned(
            id=example.id, image=evaluation / example.image if example.image else None, there=example.correct,
            said=example.sighted.text, named=example.sighted.choice or "", right=example.sighted.outcome == "right",
            blind_said=example.blind.text if example.blind else None,
        )


def _examples(evaluation: Path, benchmark: str) -> Iterator[_Example]:
    path = evaluation / "examples" / f"{benchmark}.jsonl"
    if path.exists():
        lines = path.read_text(encoding="utf-8").split("\n")
        yield from (_Example.model_validate_json(line) for line in lines if line)


def _unread(evaluation: Path, benchmark: str) -> Iterator[Unread]:
    for example in _examples(evaluation, benchmark):
        if example.sighted.outcome not in READ:
            said = example.sighted
            yield Unread(
                benchmark=benchmark, id=example.id, image=evaluation / example.image if example.image else None,
                question=question_of(example.prompt)[0], said=said.text,
                reason=said.reason or said.outcome,
            )
