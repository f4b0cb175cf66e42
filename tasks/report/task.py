"""Stage report, as the orchestrator runs it."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.making import StageRun
from tasks.report.inputs import ReportInput
from tasks.report.page import write_report


@task(name="report", task_run_name="report of {run.id}", cache_policy=NO_CACHE)
def report(run: StageRun, path: Path, page: ReportInput) -> Path:
    """The page that tells a person what the run did."""
    write_report(path, page)
    return path
