"""Stage shard, as the orchestrator runs it."""

from __future__ import annotations

from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.artifacts import ConversationSet, ImageSet, ShardSet
from tasks.making import StageRun
from tasks.progress import Progress
from tasks.shard.run import build_shards
from tasks.stages import Built, StageSpec


@task(name="shard", task_run_name="shard the samples of align and instruct", cache_policy=NO_CACHE)
def shard(
    run: StageRun, spec: StageSpec[ShardSet], images: ImageSet, conversations: ConversationSet
) -> ShardSet:
    """WebDataset shards of all training samples."""

    def build(folder: Path, progress: Progress) -> Built:
        config, seed = run.experiment.shard, run.experiment.seed
        return build_shards(folder, run.local(images), run.local(conversations), config, seed, progress)

    return run.make(spec, build)
