"""Stages align and instruct, seen from the driver: survey the samples, fit on Ray, keep the finished model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from configs.load import deepspeed_file
from configs.schema import Experiment
from model.build import assemble, load
from model.own_template import template_for
from model.stages import PLANS, Stage
from tasks.errors import LlavaflowError, TrainingError, TrainingStopped
from tasks.progress import Progress
from tasks.stages import Built
from tasks.train.board import Board, Line, Watcher
from tasks.train.checkpoints import Checkpoints
from tasks.train.cluster import RaySettings, connect
from tasks.train.fit import fit, trainer_of
from tasks.train.job import Job, stage_config
from tasks.train.mixture import Sources, folders_of, order_of, told_of
from tasks.train.place import Files, Place
from tasks.train.profile import FOLDER, TABLE
from tasks.train.schedule import total_steps
from tasks.train.seen import plateau, speeds, spikes
from tasks.train.survey import check, check_sources, look_at
from tasks.train.watched import LINES, PICTURES

SAMPLES = "samples.jsonl"


def build_checkpoint(
    folder: Path, stage: Stage, start: Path, shards: Path, experiment: Experiment, work: Path, cluster: RaySettings,
    progress: Progress, watch: Callable[[Line], None] = lambda line: None, others: Mapping[str, Path] | None = None,
    profile: Path | None = None,
) -> Built:
    """Train one stage and write the checkpoint that `tasks.artifacts.Checkpoint` describes.

    `start` is the folder of a BaseModels (align) or of the Checkpoint to go on from. `work` outlives a crash: called
    again with the same one, training goes on from its last checkpoint, on as many workers as there are now. It is
    removed when all is done. `watch` gets the figures of a step while training runs, times among them. `others` are the
    ShardSets that the stage mixes with its own, by their names in its mixture; `profile` is a folder for a trace of a
    few steps and a table of where their time goes.

    Raises TooMuchBadInput, DataError for too few samples, NonFiniteLoss, TrainingError when workers fail for good,
    EnvironmentProblem.
    """
    place = cluster.place(work)
    connect(cluster)
    work.mkdir(parents=True, exist_ok=True)
    folders = folders_of(stage_config(experiment.train, stage).mixture, shards, others or {})
    job, found, mixed = _prepare(stage, start, folders, experiment, work, place, progress)
    final = _fit(replace(job, profile=profile is not None), work, progress, watch)
    shutil.copytree(final / "model", folder / "model")
    if job.lora is not None:
        shutil.copytree(final / "adapter", folder / "adapter")
    told = json.loads((final / "history.json").read_text())
    _write_lines(folder / "metrics.jsonl", told["history"])
    _write_lines(folder / SAMPLES, found)
    if told["answers"]:
        _write_lines(folder / LINES, told["answers"])
        shutil.copytree(final / PICTURES, folder / PICTURES)
    if profile is not None and (final / FOLDER).is_dir():
        shutil.copytree(final / FOLDER, profile, dirs_exist_ok=True)
        progress.note(f"where the time of a step goes: {profile / TABLE}")
    Files(place, work / "fetched").clear()
    shutil.rmtree(work)
    return _built(job, told, found, mixed)


def _prepare(
    stage: Stage, start: Path, folders: dict[str, Path], experiment: Experiment, work: Path, place: Place,
    progress: Progress,
) -> tuple[Job, list[dict[str, str]], dict[str, dict[str, int]]]:
    train = experiment.train
    job = Job(
        stage=stage,
        train=train,
        seed=experiment.seed,
        start=start if stage is Stage.ALIGN else start / "model",
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
    _write_lines(work / SAMPLES, found.lines)
    check(found, train, job.config.batch, work / SAMPLES)
    check_sources(found, train, folders, usable)
    found.survey.save(job.survey)
    if found.quarantined:
        progress.note(f"{len(found.quarantined)} samples quarantined: {found.quarantined[0]['reason']}")
    mixture = job.config.mixture
    order = order_of(job.seed, mixture, usable, job.config.batch)
    steps = total_steps(job.config, order.samples)
    return replace(job, steps=steps), found.lines, told_of(mixture, usable, order, steps)


def _fit(job: Job, work: Path, progress: Progress, watch: Callable[[Line], None]) -> Path:
    """Run the workers to the end. Returns the folder of the finished model.

    A finished fit that was not yet published (killed in between) is found by its marker and not run again.
    Raises TrainingStopped when the workers were told to stop.
    """
    checkpoints = Checkpoints(job.place, work / "fetched", job.train.keep_checkpoints)
    if done := checkpoints.finished():
        return done
    import ray

    board: Any = ray.remote(num_cpus=0)(Board).remote()
    trainer = trainer_of(job, work, board)

    def receive(line: Line) -> None:
        if "note" in line:
            progress.note(str(line["note"]))
            return
        _show(progress, line)
        watch({name: value for name, value in line.items() if name != "steps"})

    with Watcher(board, receive):
        try:
            steps = fit(trainer, lambda: board.stop.remote(), progress)
        except Exception as error:
            raise _cause(error) from error
    if done := checkpoints.finished():
        return done
    if steps is not None and steps < job.steps:
        raise TrainingStopped(
            f"{job.stage.value} was told to stop, and kept where it was after step {steps} of {job.steps}; run the "
            "same command again to go on from there"
        )
    raise TrainingError(f"the workers ended without a finished model; see the logs under {work / 'ray'}")


def _show(progress: Progress, line: Line) -> None:
    loss, rate = round(float(line["loss"]), 3), f"{line['tokens_per_second']} tok/s"
    progress.update(int(line["step"]), int(line["steps"]), loss=loss, rate=rate)


def _cause(error: Exception) -> LlavaflowError:
    """The worker's own error where there is one: Ray wraps it in its own and in the text of a trace."""
    for worker_error in getattr(error, "worker_failures", {}).values():
        cause = getattr(worker_error, "cause", None) or worker_error
        if isinstance(cause, LlavaflowError):
            return cause
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return TrainingError(f"training failed: {last}; run again to go on from the last checkpoint")


def _built(
    job: Job, told: dict[str, Any], found: list[dict[str, str]], mixed: dict[str, dict[str, int]]
) -> Built:
    history, timings = told["history"], told["timings"]
    losses = [line["loss"] for line in history]
    outcomes = Counter(line["outcome"] for line in found)
    tokens = sum(int(line["tokens"]) for line in history)
    facts: dict[str, JsonValue] = {
        "loss_first": history[0]["loss"],
        "loss_last": history[-1]["loss"],
        **speeds(history, timings),
        "step_seconds": [line["seconds"] for line in timings],
        "template": job.template,
        "workers": job.train.workers,
        "starts": [{"step": step, "workers": workers} for step, workers in told["segments"]],
        "loss_spikes": [*spikes(losses)],
        "loss_plateau": plateau(losses),
        "checkpoints": len(told["checkpoint_seconds"]),
        "checkpoint_seconds": round(sum(told["checkpoint_seconds"]), 3),
    }
    if mixed:
        facts["mixture"] = {name: {**numbers} for name, numbers in mixed.items()}
    counts = {
        "steps": job.steps,
        "samples": sum(int(line["samples"]) for line in history),
        "tokens": tokens,
        "supervised_tokens": sum(int(line["supervised_tokens"]) for line in history),
        "quarantined": outcomes["quarantined"],
        "truncated": outcomes["truncated"],
    }
    return Built(counts=counts, facts=facts)


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
