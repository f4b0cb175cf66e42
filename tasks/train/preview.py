"""What a stage's survey will find, from a part of its samples: for the plan, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs.schema import TrainConfig
from model.build import conversations_of_base
from model.own_template import template_for
from model.stages import PLANS, Stage
from tasks.progress import Silent
from tasks.shards import ShardReader
from tasks.train.job import stage_config
from tasks.train.survey import look_at, too_many

LOOKED_AT = 300
"""Samples that a preview tokenises, spread evenly over the stage's."""


@dataclass(frozen=True)
class Preview:
    """What was found in `samples` of the stage's samples. `wrong`: what would stop the stage, in words."""

    samples: int
    quarantined: int
    truncated: int
    tokens: float
    """Mean tokens of a usable sample, image tokens counted."""
    supervised: float
    """How many of them are supervised."""
    wrong: str | None


def preview(stage: Stage, base: Path, shards: Path, train: TrainConfig) -> Preview:
    """Tokenise a part of a stage's samples. Both folders are those of artifacts: BaseModels, ShardSet."""
    config, plan = stage_config(train, stage), PLANS[stage]
    name = config.template or plan.template or train.template
    tokenizer = conversations_of_base(base, train.image_aspect, lambda words: template_for(name, words))
    with ShardReader(shards, plan.samples) as reader:
        every = max(1, len(reader.keys()) // LOOKED_AT)
        found = look_at(reader, tokenizer, config.max_length, Silent(), every)
    usable = len(found.survey.numbers)
    return Preview(
        samples=usable + len(found.quarantined),
        quarantined=len(found.quarantined),
        truncated=len(found.truncated),
        tokens=float(found.survey.lengths.mean()) if usable else 0.0,
        supervised=float(found.survey.supervised.mean()) if usable else 0.0,
        wrong=too_many(found, train),
    )
