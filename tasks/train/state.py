"""What a checkpoint says of itself beside the optimizer's state, and whether this run may go on from it.

A checkpoint of other settings, other samples or other library versions is refused: to go on from it would give a model
that neither configuration describes. The number of workers may differ (docs/decisions/0010-workers-may-change.md).
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from pydantic import Field, ValidationError

from configs.schema import CADENCE, SAFETY
from tasks.artifacts import Frozen, digest_of
from tasks.errors import TrainingError
from tasks.train.job import Job
from tasks.train.survey import Survey

FILE = "state.json"
LIBRARIES = ("torch", "transformers", "deepspeed")
"""Whose versions a checkpoint is bound to."""


class State(Frozen):
    """Everything a loop needs to go on, but weights and optimizer."""

    step: int
    """Steps done."""
    identity: dict[str, str]
    segments: list[tuple[int, int]] = Field(default_factory=list)
    """First step and number of workers of each start, oldest first."""
    history: list[dict[str, int | float]] = Field(default_factory=list)
    """Whole numbers stay whole: after a restart the same lines are written as without one."""
    timings: list[dict[str, float]] = Field(default_factory=list)
    answers: list[dict[str, str | int | None]] = Field(default_factory=list)
    """What held-out samples were answered on the way."""

    @classmethod
    def parse(cls, text: bytes) -> State:
        """The state in a checkpoint's file, as `model_dump_json` wrote it. Raises TrainingError if it is none."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise TrainingError(
                f"the {FILE} of the checkpoint to go on from is not of this version; remove the stage's folder under "
                "work/ to begin anew"
            ) from error


def identity_of(job: Job) -> dict[str, str]:
    """What a checkpoint of this job is bound to: its settings and samples, by digest, and versions of libraries."""
    settings: dict[str, Any] = {
        "stage": job.stage.value,
        "seed": job.seed,
        "steps": job.steps,
        "train": job.train.model_dump(mode="json", exclude={"stages", "workers", *SAFETY}),
        "config": job.config.model_dump(mode="json", exclude=CADENCE),
        "deepspeed": job.deepspeed,
    }
    survey = Survey.load(job.survey)
    samples = [part.tolist() for part in (survey.numbers, survey.lengths, survey.supervised)]
    return {
        "settings": digest_of(settings)[:16], "samples": digest_of(samples)[:16],
        **{name: version(name) for name in LIBRARIES},
    }


def check(found: dict[str, str], wanted: dict[str, str]) -> None:
    """Raise TrainingError if a checkpoint is bound to something else than this run."""
    differing = [
        f"{name} {found.get(name, 'unknown')} -> {value}" for name, value in wanted.items() if found.get(name) != value
    ]
    if differing:
        raise TrainingError(
            f"the checkpoint to go on from was made otherwise ({', '.join(differing)}); go back to that, or remove the "
            "stage's folder under work/ to begin anew"
        )
