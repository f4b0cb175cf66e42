"""Stage base, as the orchestrator runs it."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import BaseModels
from tasks.making import StageRun
from tasks.processes import interrupts_withheld
from tasks.progress import Progress
from tasks.stages import Built, StageSpec

TITLE = "base: {run.experiment.base.vision.kind} and {run.experiment.base.language.kind}"


@task(name="base", task_run_name=TITLE, cache_policy=NO_CACHE)
def base(run: StageRun, spec: StageSpec[BaseModels]) -> BaseModels:
    """The vision tower and the language model."""

    def build(folder: Path, progress: Progress) -> Built:
        from tasks.base.run import build_base

        with interrupts_withheld():
            return build_base(folder, run.experiment.base, progress)

    return run.make(spec, build)
