"""What Prefect's own pages show of a run: its name, its results, the decision, and where to look."""

from __future__ import annotations

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.runtime import flow_run

from flows.events import tell_decision
from flows.run import Run
from tasks.register.verdict import Verdict
from tasks.report.words import score_name

LONGEST = 80
"""Letters of a flow run's name."""


def title() -> str:
    """Name of a flow run: "shapes nightly", "shapes seed=1"."""
    told = flow_run.parameters
    return named(told["experiment"], told.get("tag") or "", tuple(told.get("overrides", ())))


def named(experiment: str, tag: str, overrides: tuple[str, ...]) -> str:
    """The same for a page: no longer than a line, its parameters tell the rest ("shapes seed=1 and 3 more")."""
    words = [word for word in (experiment, tag) if word]
    for at, override in enumerate(overrides):
        if len(" ".join([*words, override])) > LONGEST:
            return " ".join([*words, f"and {len(overrides) - at} more"])
        words.append(override)
    return " ".join(words)


def publish(run: Run, verdict: Verdict) -> None:
    """Write the artifacts of a finished run, and an event with the decision."""
    if verdict.compared:
        create_table_artifact(comparison_of(verdict), key="comparison", description=f"Against the champion, {run.id}")
    create_table_artifact(results_of(run), key="results", description=f"Results of {run.id}, in percent")
    create_markdown_artifact(decision_of(run), key="decision", description="The gate's decision")
    create_markdown_artifact(links_of(run), key="links", description="Where to look")
    if run.ending.decision is not None:
        tell_decision(run.registry.name, run.ending.decision, run.id)


def comparison_of(verdict: Verdict) -> list[dict[str, str | int | float]]:
    """A row a score: challenger minus champion in percent points, with its bounds."""
    return [
        {
            "what": score_name(row.name), "difference": round(row.difference, 2), "at worst": round(row.low, 2),
            "at best": round(row.high, 2), "n": row.n, "ok": "yes" if row.ok else "no",
        }
        for row in verdict.compared
    ]


def results_of(run: Run) -> list[dict[str, str | int | float]]:
    """A row a score, with its interval and baselines."""
    rows: list[dict[str, str | int | float]] = []
    for benchmark in run.ending.benchmarks:
        for row in benchmark.rows:
            figures = {"score": row.value, "low": row.low, "high": row.high, "blind": row.blind, "random": row.random}
            told: dict[str, str | int | float] = {"what": score_name(f"{benchmark.name}/{row.name}"), "n": row.n}
            rows.append(told | {name: "" if value is None else round(value, 1) for name, value in figures.items()})
    return rows


def decision_of(run: Run) -> str:
    """The decision with its reasons, as Markdown."""
    decision = run.ending.decision
    if decision is None:
        return "Not judged."
    head = f"**{decision.verdict}**: version {decision.challenger}; champion was version "
    if decision.verdict == "needs_approval":
        head = f"Waits: `llavaflow approve {run.id} --reason ...` or `llavaflow reject {run.id} --reason ...`\n\n{head}"
    reasons = "\n".join(f"- {reason}" for reason in decision.reasons)
    return f"{head}{decision.champion_before or 'none'}, is version {decision.champion_after or 'none'}\n\n{reasons}"


def links_of(run: Run) -> str:
    """Report, folder and commands, as Markdown."""
    tracking = f"- MLflow: `{run.tracked.store.uri}`, run `{run.id}`"
    return f"- report: `{run.report_file}`\n{tracking}\n- run folder: `{run.folder}`"
