"""Training as jobs of a Ray cluster: where they go, and how jobs whose flow run is over are stopped.

A job outlives the process that submitted it, which is wanted when that process is started again, and not when its
flow run was cancelled or has crashed. So whoever hears of that (the flow's hooks, or `llavaflow reap` on a schedule)
compares the jobs of the cluster with the states of their flow runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from configs.settings import Settings
from flows.places import storage_of, storage_options, store_of
from tasks.errors import ConfigError
from tasks.train.submission import FLOW_RUN, RUN, Job, Jobs, Place, RayJobs, Submission, Submitter

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

WORKER_VARIABLES = ("LLAVAFLOW_S3_ENDPOINT", "HF_HUB_OFFLINE", "DS_ACCELERATOR")
"""Settings that a job needs and that are no secrets; keys come from the environment of the cluster's nodes."""


def submission_of(settings: Settings, run: str) -> Submission | None:
    """Where training of a run is submitted to; None where it is driven from here.

    Raises ConfigError where the cluster would have nothing in common with this machine.
    """
    if settings.ray_jobs is None:
        return None
    store = store_of(settings)
    uri = storage_of(settings, "jobs") or (None if store.remote else str(settings.home() / "jobs"))
    if uri is None:
        raise ConfigError("jobs and this machine meet in the storage: set LLAVAFLOW_STORAGE, not LLAVAFLOW_STORE alone")
    options = storage_options(uri, settings) or {}
    submitter = Submitter(
        RayJobs(settings.ray_jobs), Place(uri, options), run, _flow_run(), settings.ray_job_python,
        {name: os.environ[name] for name in WORKER_VARIABLES if name in os.environ},
    )
    return Submission(submitter, store.root, options)


def _flow_run() -> str:
    """Id of the flow run that this process executes; empty outside one."""
    from prefect.runtime import flow_run

    return str(flow_run.id or "")


@dataclass(frozen=True)
class Reaped:
    """A job that works for nobody, and why."""

    job: Job
    why: str


def orphans(jobs: list[Job], state_of: Callable[[str], str | None]) -> Iterator[Reaped]:
    """The jobs that go on though their flow run is over: `state_of` gives its state's type, None for one unknown.

    Jobs of others, and jobs of a run that no orchestrator knows of, are left alone.
    """
    for job in jobs:
        flow_run = job.metadata.get(FLOW_RUN, "")
        if job.ended or RUN not in job.metadata or not flow_run:
            continue
        state = state_of(flow_run)
        if state is None:
            yield Reaped(job, f"flow run {flow_run} is gone")
        elif state in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED"):
            yield Reaped(job, f"flow run {flow_run} is {state.lower()}")


def reap(jobs: Jobs, state_of: Callable[[str], str | None], *, dry: bool = False) -> list[Reaped]:
    """Stop the jobs that work for nobody. Raises EnvironmentProblem where the cluster cannot be asked."""
    found = list(orphans(jobs.all(), state_of))
    if not dry:
        for one in found:
            jobs.stop(one.job.id)
    return found


def stop_jobs(flow: Flow[..., object], flow_run: FlowRun, state: State[object]) -> None:
    """Hook of a flow that was cancelled or has crashed: stop its jobs."""
    address = Settings().ray_jobs
    if address is not None:
        mine = str(flow_run.id)
        reap(RayJobs(address), lambda asked: "CANCELLED" if asked == mine else "RUNNING")


def states_in_prefect() -> Callable[[str], str | None]:
    """Asks the configured Prefect API for the state of a flow run. Raises EnvironmentProblem where there is none."""
    from uuid import UUID

    from prefect.exceptions import ObjectNotFound

    from flows.prefect_remote import configured_client

    def state_of(flow_run: str) -> str | None:
        with configured_client() as client:
            try:
                found = client.read_flow_run(UUID(flow_run))
            except ObjectNotFound:
                return None
            return found.state.type.value if found.state else "PENDING"

    return state_of
