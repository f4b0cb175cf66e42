"""The page: what its template needs beside the input, and the rendering."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.report import words
from tasks.report.charts import loss_chart
from tasks.report.choose import answers_to_show, reviews_to_show
from tasks.report.data_review import REVIEW, DataReview
from tasks.report.inputs import Answer, Benchmark, Compared, Curve, Decision, ReportInput, Score
from tasks.report.pictures import picture

TEMPLATES = Path(__file__).with_name("templates")
FARTHEST = 25.0
IN_REVIEW = 200
"""Longest side in pixels of an image in the review, which has many."""


class Tile(NamedTuple):
    """A figure at the head of the page."""

    label: str
    value: str
    under: str


class Verdict(NamedTuple):
    """The decision in words; `tone` is good, bad or plain."""

    tone: str
    word: str
    sentence: str


class Table(NamedTuple):
    """A benchmark with what its drawing needs."""

    benchmark: Benchmark
    top: float
    """The percentage at the right end of the bars."""
    compared: dict[str, Compared]
    """By row."""


class Chart(NamedTuple):
    """A curve and its drawing."""

    curve: Curve
    svg: Markup


def write_report(path: Path, report: ReportInput) -> None:
    """Write the page, and the review of the data beside it. The same input gives the same bytes."""
    path.write_text(render(report), encoding="utf-8")
    if report.review is not None:
        write_review(path.with_name(REVIEW), report.review)


def write_review(path: Path, review: DataReview) -> None:
    """Write the review of the data. The same input gives the same bytes."""
    path.write_text(render_review(review), encoding="utf-8")


def render_review(review: DataReview) -> str:
    """The review of the data as text."""
    return environment().get_template("review.html.jinja").render(review=review, longest=IN_REVIEW)


def render(report: ReportInput) -> str:
    """The page as text."""
    curves = [curve for curve in report.curves if curve.points]
    return environment().get_template("report.html.jinja").render(
        report=report,
        verdict=verdict_of(report.decision),
        tiles=tiles_of(report),
        tables=[_table(benchmark, report.decision) for benchmark in report.benchmarks],
        charts=[Chart(curve, loss_chart(curve, f"curve-{at}")) for at, curve in enumerate(curves)],
        right=answers_to_show(report.answers, right=True),
        wrong=answers_to_show(report.answers, right=False),
        outcomes=_outcomes(report.answers),
        reviews=reviews_to_show(report.reviews),
        reach=_reach(report.decision),
        review_page=REVIEW,
    )


def verdict_of(decision: Decision | None) -> Verdict:
    """What became of the model, in a sentence."""
    if decision is None:
        return Verdict("plain", "Not judged", "The run ended before the gate; nothing was promoted.")
    mine, before, after = decision.version, decision.champion_before, decision.champion_after
    if decision.verdict == "hold":
        stays = f"version {after} stays champion" if after else "there is no champion"
        return Verdict("bad", "Held", f"Version {mine} was not promoted; {stays}.")
    if decision.verdict == "needs_approval":
        return Verdict("plain", "Waits for approval", f"A person decides whether version {mine} is promoted.")
    if after != mine:
        return Verdict("plain", "Passed", f"Version {mine} passed the gate; the alias was not moved.")
    if before == mine:
        return Verdict("good", "Champion", f"Version {mine} is the champion already; nothing had to be moved.")
    replaced = f"replaces version {before} as champion" if before else "is the first champion"
    return Verdict("good", "Promoted", f"Version {mine} {replaced}.")


def tiles_of(report: ReportInput) -> list[Tile]:
    """The few figures that most readers come for."""
    tiles = []
    for benchmark in report.benchmarks:
        for row in benchmark.rows:
            name = f"{words.benchmark_name(benchmark.name)}, {words.row_name(row.name).lower()}"
            if row.whole:
                tiles.append(Tile(name, _percent(row.value), _interval(row)))
            elif row.name == "img" and row.blind is not None and row.value is not None:
                gain = f"{words.signed(row.value - row.blind)} points by seeing"
                tiles.append(Tile(name, _percent(row.value), f"{words.figure(row.blind)} blind, {gain}"))
    if report.seconds:
        cached = sum(stage.cached for stage in report.stages)
        under = f"{cached} of {len(report.stages)} stages cached" if report.stages else ""
        tiles.append(Tile("Time", words.duration(report.seconds), under))
    if report.usd is not None:
        tiles.append(Tile("Teacher and judge", words.money(report.usd), ""))
    return tiles


def _percent(value: float | None) -> str:
    return "withheld" if value is None else f"{value:.1f} %"


def _interval(row: Score) -> str:
    if row.low is None or row.high is None:
        return f"{words.count(row.n)} questions"
    return f"{row.low:.1f} to {row.high:.1f}, {words.count(row.n)} questions"


def _table(benchmark: Benchmark, decision: Decision | None) -> Table:
    ends = [figure for row in benchmark.rows for figure in (row.value, row.high, row.blind_high) if figure is not None]
    top = max([100.0, *ends])
    compared = {
        row.name.partition("/")[2]: row
        for row in (decision.compared if decision else ())
        if row.name.startswith(f"{benchmark.name}/")
    }
    return Table(benchmark, top if top == 100 else 10.0 * -(-top // 10), compared)


def _reach(decision: Decision | None) -> float:
    """How far the axis of differences goes to both sides, in points. The few rows beyond FARTHEST end at its edge."""
    ends = [abs(end) for row in (decision.compared if decision else ()) for end in (row.low, row.high)]
    return min(FARTHEST, 5.0 * -(-max([5.0, *ends]) // 5))


def _outcomes(answers: Sequence[Answer]) -> dict[str, int]:
    found: dict[str, int] = {}
    for answer in answers:
        found[answer.outcome] = found.get(answer.outcome, 0) + 1
    return found


@cache
def environment() -> Environment:
    """The templates. Everything is escaped: answers of models and replies of teachers are not to be trusted."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "benchmark_name": words.benchmark_name,
        "row_name": words.row_name,
        "score_name": words.score_name,
        "figure": words.figure,
        "grade": words.grade,
        "signed": words.signed,
        "thousands": words.count,
        "duration": words.duration,
        "money": words.money,
        "short": words.short,
        "probability": words.probability,
        "moment": words.moment,
        "picture": picture,
    }
    return environment
