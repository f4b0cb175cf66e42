"""The page of a comparison: the table of differences, and the examples that flipped with their images."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tasks.report.choose import evenly
from tasks.report.compare_inputs import ComparedBenchmark, ComparePage, Flipped
from tasks.report.page import FARTHEST, environment
from tasks.report.words import benchmark_name, signed

SHOWN = 12
"""Examples of each direction on the page; the table counts all."""


class Part(NamedTuple):
    """A benchmark with what its drawing needs."""

    benchmark: ComparedBenchmark
    reach: float
    """How far the axis of differences goes to both sides, in points."""
    lost: list[Flipped]
    won: list[Flipped]
    lost_in_all: int
    won_in_all: int


def write_page(path: Path, page: ComparePage) -> None:
    """Write the page. The same input gives the same bytes."""
    path.write_text(render(page), encoding="utf-8")


def render(page: ComparePage) -> str:
    """The page as text."""
    parts = [_part(benchmark) for benchmark in page.benchmarks]
    template = environment().get_template("compare.html.jinja")
    return template.render(page=page, parts_of=parts, sentence=sentence_of(page))


def sentence_of(page: ComparePage) -> str:
    """What the whole sets say, in a sentence each."""
    return " ".join(_sentence(benchmark, page) for benchmark in page.benchmarks)


def _sentence(benchmark: ComparedBenchmark, page: ComparePage) -> str:
    whole = benchmark.rows[-1]
    shown = f"{signed(whole.difference)} points, {signed(whole.low)} to {signed(whole.high)}"
    if whole.low > 0:
        return f"{benchmark_name(benchmark.name)}: {page.second} is better ({shown})."
    if whole.high < 0:
        return f"{benchmark_name(benchmark.name)}: {page.second} is worse ({shown})."
    return f"{benchmark_name(benchmark.name)}: no difference is shown ({shown})."


def _part(benchmark: ComparedBenchmark) -> Part:
    ends = [abs(end) for row in benchmark.rows for end in (row.low, row.high)]
    lost = [flip for flip in benchmark.flips if flip.gain < 0]
    won = [flip for flip in benchmark.flips if flip.gain > 0]
    reach = min(FARTHEST, 5.0 * -(-max([5.0, *ends]) // 5))
    return Part(benchmark, reach, evenly(lost, SHOWN), evenly(won, SHOWN), len(lost), len(won))
