"""`llavaflow backfill`: a run of a deployment for each of several versions of the data, once however often asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from configs.load import load_experiment
from flows.prefect_remote import configured_client
from flows.publish import fill
from tasks.artifacts import digest_of
from tasks.errors import ConfigError

DEPLOYMENT = "pipeline/retrain"


class Wanted(NamedTuple):
    """A run for one version of the data."""

    version: str
    parameters: dict[str, str | list[str]]
    key: str
    """Idempotency key: the same run asked for again is the run that is there."""


class Started(NamedTuple):
    """A flow run that stands for a version."""

    version: str
    flow_run: str
    state: str


def wanted_runs(
    experiment: str, versions: Sequence[str], overrides: Sequence[str], deployment: str = DEPLOYMENT
) -> list[Wanted]:
    """The runs of a backfill, in the order of the versions, none twice.

    Raises ConfigError if no override says {version} (all runs would be the same), or a run does not resolve.
    """
    if not any("{version}" in override for override in overrides):
        raise ConfigError("no --set says {version}, so all runs would be the same; e.g. --set data.root=sets/{version}")
    wanted = []
    for version in dict.fromkeys(versions):
        filled = fill(overrides, version)
        load_experiment(experiment, filled)
        parameters: dict[str, str | list[str]] = {
            "experiment": experiment, "overrides": list(filled), "tag": f"backfill-{version}"
        }
        wanted.append(Wanted(version, parameters, f"llavaflow-backfill-{digest_of([deployment, parameters])[:32]}"))
    return wanted


def backfill(wanted: Sequence[Wanted], deployment: str = DEPLOYMENT) -> list[Started]:
    """Ask for the runs; they wait for one another where the deployment runs one at a time.

    Raises ConfigError if there is no such deployment, EnvironmentProblem if no API answers.
    """
    from prefect.exceptions import ObjectNotFound

    started = []
    with configured_client() as client:
        try:
            found = client.read_deployment_by_name(deployment)
        except ObjectNotFound as error:
            raise ConfigError(f"the server has no deployment {deployment}; see: prefect deploy --all") from error
        for one in wanted:
            run = client.create_flow_run_from_deployment(
                found.id, parameters=one.parameters, idempotency_key=one.key, tags=["backfill"]
            )
            started.append(Started(one.version, str(run.id), run.state.name if run.state and run.state.name else ""))
    return started
