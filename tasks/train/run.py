"""Stages align and instruct, seen from the driver: survey the samples, fit on Ray, keep the finished model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from configs.schema import Experiment
from model.stages import Stage
from tasks.errors import LlavaflowError, TrainingError, TrainingStopped
from tasks.progress import Progress
from tasks.stages import Built
from tasks.train.board import Board, Line, Watcher
from tasks.train.checkpoints import Checkpoints
from tasks.train.cluster import RaySettings, connect
from tasks.train.fit import fit, trainer_of
from tasks.train.job import Job
from tasks.train.place import Files
from tasks.train.prepare import SAMPLES, Inputs, Prepared, prepare, write_lines
from tasks.train.profile import FOLDER, TABLE
from tasks.train.rows import Choice, choices_of
from tasks.train.seen import plateau, speeds, spikes
from tasks.train.watched import LINES, PICTURES


def _unseen(line: Line) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Around:
    """Where a stage is trained, and who watches."""

    work: Path
    """A folder that outlives a crash; removed when all is done."""
    cluster: RaySettings
    progress: Progress
    watch: Callable[[Line], None] = _unseen
    """Gets the figures of a step while training runs, times among them."""
    device: float | None = None
    """The memory in bytes that `row_tokens: auto` goes by."""
    profile: Path | None = None
    """A folder for a trace of a few steps and a table of where their time goes."""


def build_checkpoint(folder: Path, stage: Stage, inputs: Inputs, experiment: Experiment, around: Around) -> Built:
    """Train one stage and write the checkpoint that `tasks.artifacts.Checkpoint` describes.

    Called again with the same work folder, training goes on from its last checkpoint, on as many workers as there are
    now.

    Raises TooMuchBadInput, DataError for too few samples, NonFiniteLoss, TrainingError when workers fail for good,
    EnvironmentProblem.
    """
    work, progress = around.work, around.progress
    place = around.cluster.place(work)
    connect(around.cluster)
    work.mkdir(parents=True, exist_ok=True)
    prepared = prepare(stage, inputs, experiment, work, place, progress, around.device)
    job = replace(prepared.job, profile=around.profile is not None)
    final = _fit_rows(job, work, progress, around.watch)
    told = json.loads((final / "history.json").read_text())
    _keep(folder, final, job, told, prepared)
    if around.profile is not None and (final / FOLDER).is_dir():
        shutil.copytree(final / FOLDER, around.profile, dirs_exist_ok=True)
        progress.note(f"where the time of a step goes: {around.profile / TABLE}")
    budgets = choices_of(job.rows)
    Files(place, work / "fetched").clear()
    shutil.rmtree(work)
    return _built(job, told, prepared, budgets)


def _keep(folder: Path, final: Path, job: Job, told: dict[str, Any], prepared: Prepared) -> None:
    """Copy what belongs to the artifact out of the folder of the finished model."""
    shutil.copytree(final / "model", folder / "model")
    if job.lora is not None:
        shutil.copytree(final / "adapter", folder / "adapter")
    write_lines(folder / "metrics.jsonl", told["history"])
    write_lines(folder / SAMPLES, prepared.samples)
    if told["answers"]:
        write_lines(folder / LINES, told["answers"])
        shutil.copytree(final / PICTURES, folder / PICTURES)


def _fit_rows(job: Job, work: Path, progress: Progress, watch: Callable[[Line], None]) -> Path:
    """`_fit`, again with shorter rows whenever a worker ran out of memory for the last time that Ray starts it anew."""
    while True:
        before = len(choices_of(job.rows))
        try:
            return _fit(job, work, progress, watch)
        except TrainingStopped:
            raise
        except TrainingError:
            # Whichever worker's error is told: a shorter budget was written if one of them ran out of memory.
            if len(choices_of(job.rows)) == before:
                raise


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
    used, memory = f"{float(line['mfu']):.0%}", f"{float(line['memory_gb']):.1f} GB"
    progress.update(int(line["step"]), int(line["steps"]), loss=loss, rate=rate, mfu=used, memory=memory)


def _cause(error: Exception) -> LlavaflowError:
    """The worker's own error where there is one: Ray wraps it in its own and in the text of a trace."""
    for worker_error in getattr(error, "worker_failures", {}).values():
        cause = getattr(worker_error, "cause", None) or worker_error
        if isinstance(cause, LlavaflowError):
            return cause
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return TrainingError(f"training failed: {last}; run again to go on from the last checkpoint")


def _built(job: Job, told: dict[str, Any], prepared: Prepared, budgets: Sequence[Choice]) -> Built:
    history, timings = told["history"], told["timings"]
    losses = [line["loss"] for line in history]
    outcomes = Counter(line["outcome"] for line in prepared.samples)
    tokens = sum(int(line["tokens"]) for line in history)
    facts: dict[str, JsonValue] = {
        "loss_first": history[0]["loss"],
        "loss_last": history[-1]["loss"],
        **speeds(history, timings),
        "step_seconds": [line["seconds"] for line in timings],
        "matmul_ceiling": told["matmul_ceiling"],
        "row_tokens": budgets[-1].row_tokens,
        "out_of_memory": [{"step": choice.step, "row_tokens": choice.row_tokens} for choice in budgets[1:]],
        "template": job.template,
        "workers": job.train.workers,
        "starts": [{"step": step, "workers": workers} for step, workers in told["segments"]],
        "loss_spikes": [*spikes(losses)],
        "loss_plateau": plateau(losses),
        "checkpoints": len(told["checkpoint_seconds"]),
        "checkpoint_seconds": round(sum(told["checkpoint_seconds"]), 3),
    }
    if prepared.mixed:
        facts["mixture"] = {name: {**numbers} for name, numbers in prepared.mixed.items()}
    counts = {
        "steps": job.steps,
        "samples": sum(int(line["samples"]) for line in history),
        "tokens": tokens,
        "supervised_tokens": sum(int(line["supervised_tokens"]) for line in history),
        "quarantined": outcomes["quarantined"],
        "truncated": outcomes["truncated"],
    }
    return Built(counts=counts, facts=facts)
