"""The end of a run in the terminal: stages, results, the gate's decision with its reasons, where to look."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.outcome import Outcome
from tasks.report.inputs import Score
from tasks.report.words import benchmark_name, duration, row_name


def show(outcome: Outcome, console: Console) -> None:
    """Print it."""
    console.print(Group(*_parts(outcome)))


def _parts(outcome: Outcome) -> Iterator[RenderableType]:
    yield from ("", stages_of(outcome))
    if outcome.benchmarks:
        yield from ("", results_of(outcome))
    if outcome.decision is not None:
        yield from ("", decision_of(outcome))
    yield from ("", look_of(outcome))


def stages_of(outcome: Outcome) -> Table:
    """A row a stage: time, what it made, cached or why it was made."""
    table = _table("stage", "time", "made", "why")
    table.columns[1].justify = "right"
    for stage in outcome.stages:
        why = Text("cached" if stage.cached else stage.reason, style="green" if stage.cached else "")
        table.add_row(stage.name, duration(stage.seconds), Text(stage.detail), why)
    table.add_row("all", duration(outcome.seconds), "", "", style="bold")
    return table


def results_of(outcome: Outcome) -> Table:
    """A row a score, in percent."""
    table = _table("result", "score", "interval", "blind", "random", "n")
    for column in table.columns[1:]:
        column.justify = "right"
    for benchmark in outcome.benchmarks:
        for row in benchmark.rows:
            name = f"{benchmark_name(benchmark.name)}: {row_name(row.name)}"
            table.add_row(name, *_figures(row), str(row.n), style="bold" if row.whole else "")
    return table


def decision_of(outcome: Outcome) -> Text:
    """The decision, and every reason."""
    decision = outcome.decision
    assert decision is not None
    after = decision.champion_after
    text = Text()
    promoted = decision.verdict == "promote"
    text.append(f"{decision.verdict}: version {decision.challenger}", style="bold green" if promoted else "bold red")
    text.append(f"; champion is {f'version {after}' if after else 'none'}")
    if decision.champion_before != after:
        text.append(f", was {f'version {decision.champion_before}' if decision.champion_before else 'none'}")
    if decision.verdict == "needs_approval":
        text.append(f"\n  waits for approval: llavaflow approve {outcome.run} --reason '...'   (or reject)")
    for reason in decision.reasons:
        text.append(f"\n  {reason}")
    return text


def look_of(outcome: Outcome) -> Table:
    """Where to look next."""
    table = Table.grid(padding=(0, 2))
    rows = {"report": outcome.report or "", "run": outcome.folder, **outcome.look}
    for what, where in rows.items():
        if where:
            table.add_row(what, Text(where, overflow="fold"))
    return table


def _figures(row: Score) -> tuple[str, str, str, str]:
    interval = "" if row.low is None or row.high is None else f"{row.low:.1f} to {row.high:.1f}"
    score, blind, random = (
        "" if value is None else f"{value:.1f}" for value in (row.value, row.blind, row.random)
    )
    return score if row.value is not None else "withheld", interval, blind, random


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table
