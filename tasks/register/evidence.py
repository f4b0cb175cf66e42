"""What the gate reads of an evaluation: scores, rates, settings, and the outcome of every example.

Reads `report.json` and `examples/*.jsonl` as stage evaluate writes them, and of those only the fields named here.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.artifacts import Frozen, digest_of
from tasks.errors import ArtifactError

REPORT = "report.json"
EXAMPLES = "examples"
HEADLINES = ("avg", "all")
"""Rows that stand for a whole benchmark: ScienceQA's and LLaVA-Bench's."""


class Result(Frozen):
    """What one example adds to a score, which is 100 * sum(points) / sum(of).

    ScienceQA: 1 or 0 of 1. LLaVA-Bench: the judge's score of the answer, of the judge's score of the reference.
    """

    points: float
    of: float


class Case(Frozen):
    """One example. `result` is None where no judgement came about."""

    question: str
    """Digest of what was asked and what is right, so that equal ids of different questions are not taken for equal."""
    groups: tuple[str, ...]
    result: Result | None


class Row(Frozen):
    """A line of the results table, in percent; `value` is None where the score is withheld."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    random: float | None = None
    blind: float | None = None


class Benchmark(Frozen):
    """One benchmark of an evaluation."""

    rows: dict[str, Row]
    rates: dict[str, float] = Field(default_factory=dict)
    """Shares in percent: unparsed, missing, failed."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    cases: dict[str, Case] = Field(default_factory=dict)
    """By the id of the example."""

    @property
    def headline(self) -> str:
        """Name of the row that stands for the whole set."""
        return next((name for name in HEADLINES if name in self.rows), next(iter(self.rows), ""))


class Surroundings(Frozen):
    """What the gate asks about a challenger beside its evaluation. None: not known."""

    overlap: int | None = None
    """Training images that occur in a test set."""
    teacher_usd: float | None = None
    """What the teacher was paid for what it learned from."""
    seconds_per_answer: float | None = None
    weight_bytes: int | None = None


UNKNOWN = Surroundings()
"""Nothing is known."""


class Evidence(Frozen):
    """The evaluation of one checkpoint."""

    checkpoint: str
    """Digest of the checkpoint."""
    evaluation: str
    """Digest of its evaluation report."""
    benchmarks: dict[str, Benchmark]

    def scores(self) -> dict[str, float]:
        """Flat map "benchmark/metric" to percent; what was withheld is left out."""
        return {name: value for name, value in self.known().items() if value is not None}

    def known(self) -> dict[str, float | None]:
        """Every score by its name, those that were withheld as None."""
        found: dict[str, float | None] = {}
        for name, benchmark in self.benchmarks.items():
            for row, score in benchmark.rows.items():
                found[f"{name}/{row}"] = score.value
                if score.blind is not None:
                    found[f"{name}/{row}_blind"] = score.blind
            if (whole := benchmark.rows.get("avg")) and whole.random is not None:
                found[f"{name}/random"] = whole.random
            found |= {f"{name}/{rate}": value for rate, value in benchmark.rates.items()}
        return found


class _File(BaseModel):
    """A file of another stage: fields that the gate has no use for are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Score(_File):
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    random: float | None = None
    blind: float | None = None


class _Benchmark(_File):
    rows: dict[str, _Score]
    rates: dict[str, float] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class _Report(_File):
    benchmarks: dict[str, _Benchmark]


class Answered(_File):
    """What the model answered, and what came of it."""

    outcome: str
    text: str = ""
    scores: tuple[float, float] | None = None


class Example(_File):
    """One line of `examples/<benchmark>.jsonl`: the fields that the registry reads."""

    id: str
    image: str | None = None
    prompt: str
    correct: str
    groups: tuple[str, ...]
    sighted: Answered


def read_evidence(folder: Path, checkpoint: str, evaluation: str) -> Evidence:
    """The evidence of a finished evaluation. Raises ArtifactError if its files cannot be read as such."""
    try:
        report = _Report.model_validate_json((folder / REPORT).read_text(encoding="utf-8"))
        benchmarks = {
            name: Benchmark(
                rows={row: Row.model_validate(score.model_dump()) for row, score in part.rows.items()},
                rates=part.rates,
                settings=part.settings,
                cases=_cases(folder / EXAMPLES / f"{name}.jsonl"),
            )
            for name, part in report.benchmarks.items()
        }
    except (OSError, ValidationError) as error:
        why = str(error).splitlines()[0]
        raise ArtifactError(f"the evaluation in {folder} cannot be read ({why}); evaluate the model again") from error
    return Evidence(checkpoint=checkpoint, evaluation=evaluation, benchmarks=benchmarks)


def _cases(path: Path) -> dict[str, Case]:
    lines = path.read_text(encoding="utf-8").split("\n")
    examples = [Example.model_validate_json(line) for line in lines if line]
    return {example.id: _case(example) for example in examples}


def _case(example: Example) -> Case:
    question = digest_of([example.prompt, example.correct, example.image])[:16]
    return Case(question=question, groups=example.groups, result=_result(example.sighted))


def _result(answer: Answered) -> Result | None:
    if answer.scores is not None:
        reference, answered = answer.scores
        return Result(points=answered, of=reference)
    if answer.outcome == "failed":
        return None
    return Result(points=float(answer.outcome == "right"), of=1.0)
