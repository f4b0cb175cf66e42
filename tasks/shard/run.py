"""Build a ShardSet: align samples out of captions, instruct samples out of conversations and questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from configs.schema import ShardConfig
from tasks.errors import DataError
from tasks.image_files import ImageFiles, read_annotations
from tasks.progress import Progress
from tasks.shard.samples import (
    Item,
    caption_items,
    conversation_items,
    pictures_of,
    read_conversations,
)
from tasks.shard.scienceqa import question_items
from tasks.shard.write import Limits, in_mixed_order, write_stage
from tasks.stages import Built


def build_shards(
    folder: Path, images: Path, conversations: Path, config: ShardConfig, seed: int, progress: Progress
) -> Built:
    """Write the shards and indices of both stages into `folder`, as `tasks.artifacts.ShardSet` describes them.

    `images` is the local folder of an ImageSet, `conversations` that of a ConversationSet. The seed draws captions
    where an image has more than are wanted. Identical input gives identical bytes.

    Raises DataError for a sample whose image is missing, a damaged ScienceQA-layout set, and a stage without samples.
    """
    annotated = list(read_annotations(images))
    with ImageFiles(images) as files:
        pictures = pictures_of(annotated, files)
        stages = {
            "align": list(caption_items(annotated, pictures, config.captions_per_image, seed)),
            "instruct": list(conversation_items(read_conversations(conversations), pictures)),
        }
        if config.scienceqa_train:
            stages["instruct"] += question_items(images / "benchmarks" / "scienceqa", config.scienceqa_format)
        return _write(folder, stages, Limits(config.max_samples, config.max_bytes), progress)


def _write(folder: Path, stages: dict[str, list[Item]], limits: Limits, progress: Progress) -> Built:
    total = sum(map(len, stages.values()))
    done = 0
    counts: dict[str, int] = {}
    kinds: dict[str, JsonValue] = {}
    for stage, items in stages.items():
        if not items:
            raise DataError(f"there is no sample for stage {stage}; see the counts of the stages before `shard`")
        ordered = in_mixed_order(items)
        shards, size = write_stage(folder, stage, ordered, limits, _reporter(progress, done, total, stage))
        done += len(items)
        counts |= {f"{stage}_samples": len(items), f"{stage}_shards": shards, f"{stage}_bytes": size}
        counts[f"{stage}_without_image"] = sum(item.image is None for item in items)
        kinds[stage] = dict(sorted(Counter(item.sample.kind for item in items).items()))
    return Built(counts=counts, facts={"kinds": kinds})


def _reporter(progress: Progress, before: int, total: int, stage: str) -> Callable[[int], None]:
    return lambda written: progress.update(before + written, total, stage=stage)
