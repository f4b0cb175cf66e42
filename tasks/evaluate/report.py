"""What the benchmarks said: typed scores, the report of an evaluation, and its examples one by one.

An evaluation writes `report.json` (a `Report`) and `examples/<benchmark>.jsonl` (an `Example` a line). The gate, the
registry and the HTML report read these and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import Field, JsonValue

from tasks.artifacts import Frozen

REPORT = "report.json"
DIGITS = 6


class Score(Frozen):
    """One row of a table, in percent. `value` is None where it is withheld (too many failed judgements)."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    """Examples it was computed from: failed judgements are not among them, unparsed answers are (as wrong)."""
    right: int | None = None
    """How many of them were right, where examples are right or wrong."""
    std: float | None = None
    """Standard deviation (n - 1) of the score over several runs of the judge; `value` is their mean."""
    random: float | None = None
    """What guessing among the choices would score."""
    blind: float | None = None
    """The same model, the image withheld."""
    blind_low: float | None = None
    blind_high: float | None = None


class EnsembleReport(Frozen):
    """The model and a text-only LLM together, on the questions of a benchmark."""

    scheme: str
    rows: dict[str, dict[str, Score]]
    """model, llm and the scheme, each with the rows of the benchmark."""
    branches: dict[str, int]
    """By which rule an answer was taken, and how often."""
    right: dict[str, int]
    """How many of them were right."""
    guesses: dict[str, int]
    """Questions on which the model had no answer, and those on which the seeded guess then decided."""
    oracle: Score
    """Either of both right: the upper bound of any choice between them."""
    difference: Score
    """The ensemble less the model alone, in percent points, with its paired interval."""
    difference_read: Score
    """The same with the seeded guesses counted as wrong: what was gained by reading alone, luck aside."""
    p_value: float
    """McNemar, exact, the ensemble against the model alone."""
    counts: dict[str, int] = Field(default_factory=dict)
    """What the LLM was asked: questions, second queries, and how many had no answer."""
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    published: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Published results on the official test split, in percent per row."""
    comparable: bool = False
    """The questions are those of the published rows."""


class BenchmarkReport(Frozen):
    """One benchmark: a score per group, what went wrong, and all settings that the figures depend on."""

    rows: dict[str, Score]
    """Group to score; the whole set is `avg` (ScienceQA) or `all` (LLaVA-Bench)."""
    topics: dict[str, Score] = Field(default_factory=dict)
    measures: dict[str, Score] = Field(default_factory=dict)
    """Further figures by "row/measure": random/f1, perception/acc+. In percent; MME's scores are sums of percents."""
    rates: dict[str, float] = Field(default_factory=dict)
    """Shares in percent: unparsed, missing, failed."""
    rate_bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """The exact interval of each of them."""
    counts: dict[str, int] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Extraction rule, prompt format, judge, digest of the judge rules, seeds, confidence."""
    told: dict[str, str] = Field(default_factory=dict)
    """What is worth knowing and decides nothing, so that two evaluations that differ in it alone are comparable: who
    judged, as the endpoint calls itself, and when."""
    notes: tuple[str, ...] = ()
    """One sentence each: what a reader of the figures must know."""
    ensemble: EnsembleReport | None = None


class Report(Frozen):
    """The evaluation of one checkpoint."""

    benchmarks: dict[str, BenchmarkReport]
    seed: int = 0

    def scores(self) -> dict[str, float]:
        """Flat map "benchmark/metric" to percent, for the gate, the registry and `models --json`.

        Every row is there by its name, with `_blind` appended for the image withheld, every rate by its name, and
        `scienceqa/random`. What was withheld is left out.
        """
        return {f"{name}/{metric}": value for name, part in self.benchmarks.items() for metric, value in flat(part)}


def flat(benchmark: BenchmarkReport) -> Iterator[tuple[str, float]]:
    """The metrics of one benchmark by name, in percent."""
    for name, score in benchmark.rows.items():
        if score.value is not None:
            yield name, score.value
        if score.blind is not None:
            yield f"{name}_blind", score.blind
    yield from ((name, score.value) for name, score in benchmark.measures.items() if score.value is not None)
    whole = benchmark.rows.get("avg")
    if whole is not None and whole.random is not None:
        yield "random", whole.random
    yield from benchmark.rates.items()
    if benchmark.ensemble is not None:
        together = benchmark.ensemble.rows[benchmark.ensemble.scheme]
        yield from (
            (f"{name}_{benchmark.ensemble.scheme}", row.value)
            for name, row in together.items()
            if row.value is not None
        )


class Judged(Frozen):
    """One judgement of an answer among several."""

    run: int
    """Counts from 1."""
    swapped: bool
    """The answer stood before the reference."""
    scores: tuple[float, float] | None
    """Of the reference and of the answer, whichever stood first."""
    words: str
    attempts: int
    judge: str | None = None
    """The model and version that judged, as its endpoint says; None if it does not, or for a judge by rule."""
    judged: str | None = None
    """When, UTC, as the ledger has it: the same evaluation out of the same ledger is the same file."""


class Answered(Frozen):
    """One answer of the model and what came of it.

    `outcome` is right, wrong, unparsed or missing for a choice; judged or failed for an answer that a judge reads.
    """

    text: str
    outcome: str
    choice: str | None = None
    """The letter that was read from the text."""
    reason: str | None = None
    """Why there is no choice or no judgement."""
    scores: tuple[float, float] | None = None
    """The judge's scores of the reference and of this answer; their means where it judged several times."""
    words: str | None = None
    """The judge's reply in full; of a failed judgement the last one."""
    attempts: int | None = None
    """How often the judge was asked."""
    judge: str | None = None
    """The model and version that judged, as its endpoint says."""
    judged: str | None = None
    """When it judged, UTC; the last time where it judged several times."""
    judgements: tuple[Judged, ...] = ()
    """Every judgement, where there are several."""


class Example(Frozen):
    """One example with its answers, enough for a paired comparison and to show it to a reader."""

    id: str
    image: str | None
    """File relative to the folder of the report, under images/."""
    prompt: str
    correct: str
    """The letter and words of the right choice, or the reference answer."""
    groups: tuple[str, ...]
    """Rows of the table that it counts in."""
    sighted: Answered
    blind: Answered | None = None
    """None where the evaluation has no blind part; of a question without an image the sighted answer again."""


def write_report(folder: Path, report: Report) -> None:
    """Write report.json; the same report gives the same bytes."""
    (folder / REPORT).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_report(folder: Path) -> Report:
    """The report of a finished evaluation."""
    return Report.model_validate_json((folder / REPORT).read_text(encoding="utf-8"))


def write_examples(folder: Path, benchmark: str, examples: Iterable[Example]) -> None:
    """Write examples/<benchmark>.jsonl."""
    path = _examples_file(folder, benchmark)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(example.model_dump_json() + "\n" for example in examples)


def read_examples(folder: Path, benchmark: str) -> list[Example]:
    """The examples of a benchmark; empty if the evaluation left it out."""
    path = _examples_file(folder, benchmark)
    if not path.exists():
        return []
    return [Example.model_validate_json(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def rounded(share: float) -> float:
    """A share as percent, rounded where floating-point noise begins."""
    return round(100 * share, DIGITS)


def _examples_file(folder: Path, benchmark: str) -> Path:
    return folder / "examples" / f"{benchmark}.jsonl"
