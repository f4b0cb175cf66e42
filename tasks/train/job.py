"""What a training worker is told: plain values, so that it travels to any node."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.schema import LoraConfig, StageConfig, TrainConfig
from model.stages import PLANS, Stage
from tasks.spans import Spans
from tasks.train.place import Place


@dataclass(frozen=True)
class Job:
    """One stage of training. Paths are readable on every worker; shards may be read from the store, by each itself."""

    stage: Stage
    train: TrainConfig
    seed: int
    start: Path
    """A BaseModels folder to assemble (align), or a model folder to go on with."""
    folders: dict[str, Path | Spans]
    """ShardSets by their names in the stage's mixture, folders or what reads them; without a mixture one, nameless."""
    survey: Path
    steps: int
    deepspeed: dict[str, Any]
    place: Place
    """Where its checkpoints go."""
    profile: bool = False
    """Look at a few steps closely (`tasks.train.profile`)."""

    @property
    def config(self) -> StageConfig:
        """The stage's part of the configuration."""
        return stage_config(self.train, self.stage)

    @property
    def lora(self) -> LoraConfig | None:
        """The adapters of the stage; None where it trains no adapters."""
        lora = self.train.lora
        return lora if lora is not None and self.stage.value in lora.stages else None

    @property
    def rows(self) -> Path:
        """The file of row budgets (tasks/train/rows.py), beside the survey."""
        return self.survey.with_name("rows.jsonl")

    @property
    def stage_samples(self) -> str:
        """Which samples of the shards the stage reads."""
        return PLANS[self.stage].samples

    @property
    def template(self) -> str:
        """The template of the stage: its own, else what the recipe fixes, else the experiment's."""
        return self.config.template or PLANS[self.stage].template or self.train.template


def stage_config(train: TrainConfig, stage: Stage) -> StageConfig:
    """The configuration of a stage. The task stage uses that of instruct."""
    return train.stages.align if stage is Stage.ALIGN else train.stages.instruct
