"""What a stage of training knows before its first step: the job, what is usable of the samples, the row budget."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from configs.load import deepspeed_file
from configs.schema import Experiment
from model.build import Assembled, assemble, load
from model.memory import setup_of, trained_parameters
from model.own_template import template_for
from model.shapes import adapter_shape, language_shape, vision_shape
from model.stages import PLANS, Stage
from tasks.errors import TrainingError
from tasks.progress import Progress
from tasks.spans import Spans
from tasks.train.job import Job, stage_config
from tasks.train.mixture import Sources, folders_of, order_of, told_of
from tasks.train.place import Place
from tasks.train.rows import Choice, estimated, first_choice
from tasks.train.schedule import total_steps
from tasks.train.survey import Survey, check, check_sources, look_at

SAMPLES = "samples.jsonl"


@dataclass(frozen=True)
class Inputs:
    """The artifacts that a stage is made from."""

    start: Path
    """A BaseModels (align), or the Checkpoint to go on from."""
    shards: Path | Spans
    """The ShardSet of its own: its folder, or what reads it where it lies."""
    others: Mapping[str, Path | Spans] = field(default_factory=dict)
    """The ShardSets that the stage mixes with its own, by their names in its mixture."""


@dataclass(frozen=True)
class Prepared:
    """A job, and what was found on the way."""

    job: Job
    samples: list[dict[str, str]]
    """One line for each sample that is not taken as it is."""
    mixed: dict[str, dict[str, int]]
    """How many samples of each source of a mixture there are and will be taken."""


def prepare(
    stage: Stage, inputs: Inputs, experiment: Experiment, work: Path, place: Place, progress: Progress,
    device: float | None = None,
) -> Prepared:
    """Look at every sample and write down, in `work`, what the workers go by.

    `device` is the memory in bytes that `row_tokens: auto` goes by.
    Raises TooMuchBadInput, DataError for too few samples, TrainingError where `auto` finds no row budget.
    """
    train = experiment.train
    folders = folders_of(stage_config(train, stage).mixture, inputs.shards, inputs.others)
    job = Job(
        stage=stage,
        train=train,
        seed=experiment.seed,
        start=inputs.start if stage is Stage.ALIGN else inputs.start / "model",
        folders=folders,
        survey=work / "survey.npz",
        steps=1,
        deepspeed=json.loads(deepspeed_file(train.deepspeed).read_text(encoding="utf-8")),
        place=place,
    )
    assembled = (
        assemble(job.start, train.projector.kind, train.projector.feature_layer, train.image_aspect, job.seed)
        if stage is Stage.ALIGN
        else load(job.start)
    )
    tokenizer = assembled.conversations(template_for(job.template, assembled.tokenizer))
    with Sources(folders, PLANS[stage].samples) as reader:
        found = look_at(reader, tokenizer, job.config.max_length, progress)
        usable = reader.usable(found.survey.numbers)
    write_lines(work / SAMPLES, found.lines)
    check(found, train, job.config.batch, work / SAMPLES)
    check_sources(found, train, folders, usable)
    found.survey.save(job.survey)
    if found.quarantined:
        progress.note(f"{len(found.quarantined)} samples quarantined: {found.quarantined[0]['reason']}")
    _choose_rows(job, assembled, found.survey, device, progress)
    mixture = job.config.mixture
    order = order_of(job.seed, mixture, usable, job.config.batch)
    steps = total_steps(job.config, order.samples)
    return Prepared(replace(job, steps=steps), found.lines, told_of(mixture, usable, order, steps))


def _choose_rows(
    job: Job, assembled: Assembled, survey: Survey, device: float | None, progress: Progress
) -> None:
    """Write the row budget down. Raises TrainingError where `auto` finds none."""
    config, train = job.config, job.train
    if config.row_tokens != "auto":
        first_choice(job.rows, Choice(row_tokens=config.row_tokens, why="as the experiment has it"), given=True)
        return
    shape: Any = assembled.llava.config  # its parts are of types that depend on the models
    language = language_shape(shape.text_config.to_dict())
    vision = vision_shape(shape.vision_config.to_dict())
    if device is None or vision is None:
        raise TrainingError(
            "row_tokens: auto needs to know the memory of a worker's device and the shape of the vision tower; set "
            "train.device_memory, or row_tokens to a number"
        )
    trains, adapters = job.stage is not Stage.ALIGN, adapter_shape(train.lora, job.stage.value)
    setup = setup_of(
        job.deepspeed, precision=train.precision, ranks=train.workers, language_trains=trains,
        trained=trained_parameters(language, vision, language_trains=trains, adapters=adapters),
        on_cpu=not train.gpus_per_worker, adapters=adapters,
    )
    images = min(1.0, float(survey.lengths.mean()) / assembled.image_tokens)
    choices = first_choice(job.rows, estimated(language, vision, setup, survey, images, device), given=False)
    progress.note(f"rows of {choices[-1].row_tokens} tokens: {choices[-1].why}")


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """One JSON line each."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
