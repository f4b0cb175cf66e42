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
from tasks.train.submission import Submission

MIXED = "mixture "
"""What the names of a stage's parents begin with that it mixes with its own shards."""


def title() -> str:
    """"align: 100 steps"."""
    run, spec = task_run.parameters["run"], task_run.parameters["spec"]
    stage = getattr(run.experiment.train.stages, spec.name)
    length = f"{stage.steps} steps" if stage.steps else f"{stage.epochs:g} epochs"
    return f"{spec.name}: {length} of {stage.batch} samples"


@task(name="train", task_run_name=title, cache_policy=NO_CACHE)
def train(
    run: StageRun, spec: StageSpec[Checkpoint], start: BaseModels | Checkpoint, shards: ShardSet, cluster: RaySettings,
    submission: Submission | None = None,
) -> Checkpoint:
    """The checkpoint of one training stage, which the spec names. With a submission, a job of a cluster makes it."""
    others = {
        name.removeprefix(MIXED): parent for name, parent in spec.parents.items() if name.startswith(MIXED)
    }

    def submit(folder: Path, progress: Progress) -> Built:
        assert submission is not None
        order = submission.order(
            spec.name, spec.work_name, start, shards, others, run.experiment, cluster.checkpoints
        )
        return submission.submitter.build(folder, order, progress, lambda figures: run.figures(spec.name, figures))

    def build(folder: Path, progress: Progress) -> Built:
        from model.stages import Stage
        from tasks.train.devices import device_memory
        from tasks.train.prepare import Inputs
        from tasks.train.run import Around, build_checkpoint

        work = run.work(spec)
        # Its name leaves the number of workers out, the lock on the stage's key does not.
        with only_one(work.with_name(f"{work.name}.lock"), progress):
            inputs = Inputs(
                run.local(start), run.spans(shards), {name: run.spans(other) for name, other in others.items()}
            )
            around = Around(
                work, cluster, progress, lambda figures: run.figures(spec.name, figures),
                device_memory(run.experiment.train), run.profile / spec.name if run.profile else None,
            )
            return build_checkpoint(folder, Stage(spec.name), inputs, run.experiment, around)

    checkpoint = run.make(spec, build if submission is None else submit)
    if submission is not None:
        submission.submitter.done(spec.work_name)
    return checkpoint
