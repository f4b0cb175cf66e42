"""Commands that ask something of a Prefect server that stays: publish, automations, backfill."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

Set = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one knob; {version} is filled in.")
]


def publish(
    dataset: Annotated[str, typer.Argument(help="Name of the data set.")],
    version: Annotated[
        str | None, typer.Option("--version", help="Which version of it is there now; by default the time, in UTC.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="What learns from it; by default the experiment of its name.")
    ] = None,
    overrides: Set = None,
) -> None:
    """Tell the Prefect server that a version of a data set is there; automations may retrain on it."""
    from flows.publish import publication_of
    from flows.publish import publish as send

    version = version or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    publication = publication_of(dataset, version, experiment, overrides or ())
    send(publication)
    typer.echo(f"published {publication.dataset} {publication.version} for experiment {publication.experiment}")


def automations(
    file: Annotated[Path, typer.Argument(help="YAML file of automations.")] = Path("infra/automations.yaml"),
) -> None:
    """Create or update a file's automations on the Prefect server."""
    from flows.automations import load_automations

    for loaded in load_automations(file):
        typer.echo(f"{loaded.name}: {loaded.done}")


def backfill(
    experiment: Annotated[str, typer.Argument(help="Id of an experiment, or path of a YAML file.")],
    versions: Annotated[list[str], typer.Option("--version", help="A version of the data; repeat for several.")],
    overrides: Set = None,
    deployment: Annotated[str, typer.Option("--deployment", help="FLOW/NAME of what is run.")] = "pipeline/retrain",
) -> None:
    """One run of a deployment for each version of the data; asked again, the same runs."""
    from flows.backfill import backfill as start
    from flows.backfill import wanted_runs

    for started in start(wanted_runs(experiment, versions, overrides or (), deployment), deployment):
        typer.echo(f"{started.version}: flow run {started.flow_run}, {started.state.lower()}")


def reap(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
) -> None:
    """Stop jobs of the Ray cluster whose flow run has ended, was cancelled or has crashed."""
    from configs.settings import Settings
    from flows.submissions import reap as stop
    from flows.submissions import states_in_prefect
    from tasks.errors import EnvironmentProblem
    from tasks.train.submission import RayJobs

    address = Settings().ray_jobs
    if address is None:
        raise EnvironmentProblem("no Ray cluster takes jobs: set LLAVAFLOW_RAY_JOBS, e.g. http://host:8265")
    found = stop(RayJobs(address), states_in_prefect(), dry=dry_run)
    for one in found:
        typer.echo(f"{one.job.id}: {one.why}; {'would be' if dry_run else 'was'} told to stop")
    if not found:
        typer.echo("every job works for a flow run that goes on")
