"""Stage ingest, as the orchestrator runs it."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import ImageSet
from tasks.ingest.places import Place
from tasks.ingest.run import build_image_set
from tasks.ingest.testsets import TestSet
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.stages import Built, StageSpec


@task(name="ingest", task_run_name="ingest {run.experiment.id}", cache_policy=NO_CACHE)
def ingest(
    run: StageRun, spec: StageSpec[ImageSet], places: Sequence[Place | None], test_sets: Sequence[TestSet], cache: Path,
    withdrawn: Set[str] = frozenset(),
) -> ImageSet:
    """Images, samples and questions. `places` are the roots of the data's sources, None where the project makes them.

    No image of the test sets gets in, nor one that is withdrawn (by the sha256 of its file). `cache` is the file
    that remembers what decoding told.
    """
    data = run.experiment.data

    def build(folder: Path, progress: Progress) -> Built:
        return build_image_set(folder, data, places, progress, test_sets, cache, withdrawn)

    return run.make(spec, build)
