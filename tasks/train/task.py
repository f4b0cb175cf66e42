"""Stages align and instruct, as the orchestrator runs them."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import task_run

from tasks.artifacts import BaseModels, Checkpoint, ShardSet
from tasks.making import StageRun, only_one
from tasks.progress import Progress
from tasks.stages import Built, StageSpec
from tasks.train.cluster import RaySettings


def title() -> str:
    """"align: 100 steps"."""
    run, spec = task_run.parameters["run"], task_run.parameters["spec"]
    stage = getattr(run.experiment.train.stages, spec.name)
    length = f"{stage.steps} steps" if stage.steps else f"{stage.epochs:g} epochs"
    return f"{spec.name}: {length} of {stage.batch} samples"


@task(name="train", task_run_name=title, cache_policy=NO_CACHE)
def train(
    run: StageRun, spec: StageSpec[Checkpoint], start: BaseModels | Checkpoint, shards: ShardSet, cluster: RaySettings
) -> Checkpoint:
    """The checkpoint of one training stage; the spec's name says which."""

    def build(folder: Path, progress: Progress) -> Built:
        from model.stages import Stage
        from tasks.train.devices import device_memory
        from tasks.train.run import build_checkpoint

        work = run.work(spec)
        # Its name leaves the number of workers out, the lock on the stage's key does not.
        with only_one(work.with_name(f"{work.name}.lock"), progress):
            return build_checkpoint(
                folder, Stage(spec.name), run.local(start), run.local(shards), run.experiment, work, cluster, progress,
                lambda figures: run.figures(spec.name, figures), device_memory(run.experiment.train),
            )

    return run.make(spec, build)
