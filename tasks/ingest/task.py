"""Stage ingest, as the orchestrator runs it."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import ImageSet
from tasks.ingest.run import build_image_set
from tasks.making import StageRun
from tasks.stages import StageSpec


@task(name="ingest", task_run_name="ingest {run.experiment.id}", cache_policy=NO_CACHE)
def ingest(run: StageRun, spec: StageSpec[ImageSet], root: Path | None) -> ImageSet:
    """Images with captions and boxes. `root` is the folder of the data, None where the project makes them."""
    return run.make(spec, lambda folder, progress: build_image_set(folder, run.experiment.data, root, progress))
