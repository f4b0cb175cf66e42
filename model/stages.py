"""The training stages, and what each trains. Stages are data: no other place spells their names as strings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from torch import nn

VISION, PROJECTOR, LANGUAGE = "vision_tower", "multi_modal_projector", "language_model"


class Stage(StrEnum):
    """A training stage of visual instruction tuning."""

    ALIGN = "align"
    INSTRUCT = "instruct"
    TASK = "task"


@dataclass(frozen=True)
class StagePlan:
    """Which parts of the model a stage trains, and which samples it reads."""

    trains: frozenset[str]
    samples: str
    template: str | None
    """Template of the stage where the recipe fixes one: align reads plain captions, as in the paper."""


PLANS: dict[Stage, StagePlan] = {
    Stage.ALIGN: StagePlan(frozenset({PROJECTOR}), "align", "plain"),
    Stage.INSTRUCT: StagePlan(frozenset({PROJECTOR, LANGUAGE}), "instruct", None),
    Stage.TASK: StagePlan(frozenset({PROJECTOR, LANGUAGE}), "instruct", None),
}


def part_of(parameter: str) -> str:
    """The part of a `LlavaForConditionalGeneration` that a parameter belongs to; `lm_head` is the language model's."""
    names = parameter.split(".")
    return next((part for part in (VISION, PROJECTOR) if part in names), LANGUAGE)


def freeze_for(model: nn.Module, stage: Stage) -> list[str]:
    """Let only the stage's parts train. Returns the trainable parameters' names.

    A linear projector's second layer is an identity that stands in for "no second layer" and never trains.
    """
    plan, trainable = PLANS[stage], []
    linear = getattr(model.config, "projector_hidden_act", "") == "linear"
    for name, parameter in model.named_parameters():
        identity = linear and f"{PROJECTOR}.linear_2" in name
        parameter.requires_grad = part_of(name) in plan.trains and not identity
        if parameter.requires_grad:
            trainable.append(name)
    return trainable
