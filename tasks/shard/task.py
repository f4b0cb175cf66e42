"""Stage shard, as the orchestrator runs it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import ConversationSet, ImageSet, ShardSet
from tasks.errors import ArtifactError
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.shard.run import build_shards, reusable
from tasks.shard.write import Reusable
from tasks.shards import SHARD_TABLE
from tasks.stages import Built, StageSpec


@task(name="shard", task_run_name="shard the samples of align and instruct", cache_policy=NO_CACHE)
def shard(
    run: StageRun, spec: StageSpec[ShardSet], images: ImageSet, conversations: ConversationSet
) -> ShardSet:
    """WebDataset shards of all training samples."""

    def build(folder: Path, progress: Progress) -> Built:
        config, seed = run.experiment.shard, run.experiment.seed
        return build_shards(
            folder, run.local(images), run.local(conversations), config, seed, progress, run.sink(spec, folder),
            _earlier(run, spec),
        )

    return run.make(spec, build)


def _earlier(run: StageRun, spec: StageSpec[ShardSet]) -> dict[str, Reusable]:
    """The shards of earlier shard sets in the store; where several hold the same, those of the newest."""
    found: dict[str, Reusable] = {}
    for made in reversed(run.earlier(spec)):
        with suppress(ArtifactError):  # one that is not whole is no help, and no harm
            found |= reusable(made.uri, run.read_file(made, SHARD_TABLE))
    return found
