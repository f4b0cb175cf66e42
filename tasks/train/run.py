"""Stages align and instruct, seen from the driver: survey the samples, fit on Ray, keep the finished model."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from configs.load import deepspeed_file
from configs.schema import Experiment
from model.build import Assembled, assemble, load
from model.memory import setup_of
from model.own_template import template_for
from model.shapes import language_shape, vision_shape
from model.stages import PLANS, Stage, freeze_for
from tasks.errors import TrainingError
from tasks.progress import Progress
from tasks.shards import ShardReader
from tasks.stages import Built
from tasks.train.board import Board, Line, Watcher
from tasks.train.cluster import RaySettings, connect
from tasks.train.job import Job
from tasks.train.rows import Choice, choices_of, estimated, first_choice
from tasks.train.schedule import total_steps
from tasks.train.seen import plateau, speeds, spikes
from tasks.train.survey import Survey, check, look_at
from tasks.train.worker import FINAL, train_loop_per_worker

SAMPLES = "samples.jsonl"


def build_checkpoint(
    folder: Path, stage: Stage, start: Path, shards: Path, experiment: Experiment, work: Path, cluster: RaySettings,
    progress: Progress, watch: Callable[[Line], None] = lambda line: None, device: float | None = None,
) -> Built:
    """Train one stage and write the checkpoint that `tasks.artifacts.Checkpoint` describes.

    `start` is the folder of a BaseModels (align) or of the Checkpoint to go on from. `work` outlives a crash: called
    again with the same one, training goes on from its last checkpoint, on as many workers as there are now. It is
    removed when all is done. `watch` gets the figures of a step while training runs, times among them. `device` is the
    memory in bytes that `row_tokens: auto` goes by.

    Raises TooMuchBadInput, DataError for too few samples, NonFiniteLoss, TrainingError when workers fail for good,
    EnvironmentProblem.
    """
    connect(cluster)
    work.mkdir(parents=True, exist_ok=True)
    job, found = _prepare(stage, start, shards, experiment, work, progress, device)
    final = _fit_rows(job, work, progress, watch)
    shutil.copytree(final / "model", folder / "model")
    told = json.loads((final / "history.json").read_text())
    budgets = choices_of(job.rows)
    _write_lines(folder / "metrics.jsonl", told["history"])
    _write_lines(folder / SAMPLES, found)
    shutil.rmtree(work)
    return _built(job, told, found, budgets)


def _prepare(
    stage: Stage, start: Path, shards: Path, experiment: Experiment, work: Path, progress: Progress,
    device: float | None,
) -> tuple[Job, list[dict[str, str]]]:
    train = experiment.train
    job = Job(
        stage=stage,
        train=train,
        seed=experiment.seed,
        start=start if stage is Stage.ALIGN else start / "model",
        shards=shards,
        survey=work / "survey.npz",
        steps=1,
        deepspeed=json.loads(deepspeed_file(train.deepspeed).read_text(encoding="utf-8")),
    )
    assembled = (
        assemble(job.start, train.projector.kind, train.projector.feature_layer, train.image_aspect, job.seed)
        if stage is Stage.ALIGN
        else load(job.start)
    )
    tokenizer = assembled.conversations(template_for(job.template, assembled.tokenizer))
    with ShardReader(shards, PLANS[stage].samples) as reader:
        found = look_at(reader, tokenizer, job.config.max_length, progress)
    _write_lines(work / SAMPLES, found.lines)
    check(found, train, job.config.batch, work / SAMPLES)
    found.survey.save(job.survey)
    if found.quarantined:
        progress.note(f"{len(found.quarantined)} samples quarantined: {found.quarantined[0]['reason']}")
    _choose_rows(job, assembled, found.survey, device, progress)
    steps = total_steps(job.config, len(found.survey.numbers))
    return Job(**{**vars(job), "steps": steps}), found.lines


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
    freeze_for(assembled.llava, job.stage)
    trained = sum(part.numel() for part in assembled.llava.parameters() if part.requires_grad)
    setup = setup_of(
        job.deepspeed, precision=train.precision, ranks=train.workers, language_trains=job.stage is not Stage.ALIGN,
        trained=trained, on_cpu=not train.gpus_per_worker,
    )
    images = min(1.0, float(survey.lengths.mean()) / assembled.image_tokens)
    choices = first_choice(job.rows, estimated(language, vision, setup, survey, images, device), given=False)
    progress.note(f"rows of {choices[-1].row_tokens} tokens: {choices[-1].why}")


def _fit_rows(job: Job, work: Path, progress: Progress, watch: Callable[[Line], None]) -> Path:
    """`_fit`, again with shorter rows whenever a worker ran out of memory for the last time that Ray starts it anew."""
    while True:
        before = len(choices_of(job.rows))
        try:
            return _fit(job, work, progress, watch)
        except TrainingError:
            # Whichever worker's error is told: a shorter budget was written if one of them ran out of memory.
            if len(choices_of(job.rows)) == before:
                raise


def _fit(job: Job, work: Path, progress: Progress, watch: Callable[[Line], None]) -> Path:
    """Run the workers to the end. Returns the folder of the finished model.

    A finished fit that was not yet published (killed in between) is found by its marker and not run again: Ray would
    call the training function once more.
    """
    run_folder = work / "ray"
    if done := _finished(run_folder):
        return done
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    train = job.train
    board = ray.remote(num_cpus=0)(Board).remote()
    resources: dict[str, float] = {"CPU": train.cpus_per_worker}
    if train.gpus_per_worker:
        resources["GPU"] = train.gpus_per_worker
    trainer = TorchTrainer(
        train_loop_per_worker,
        train_loop_config={"job": job, "board": board},
        torch_config=TorchConfig(backend="nccl" if train.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=train.workers, use_gpu=bool(train.gpus_per_worker), resources_per_worker=resources
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(work),
            failure_config=FailureConfig(max_failures=train.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=train.keep_checkpoints),
        ),
    )

    def receive(line: Line) -> None:
        if "note" in line:
            progress.note(str(line["note"]))
            return
        _show(progress, line)
        watch({name: value for name, value in line.items() if name != "steps"})

    with Watcher(board, receive):
        try:
            trainer.fit()
        except Exception as error:
            raise _cause(error) from error
    if done := _finished(run_folder):
        return done
    raise TrainingError(f"the workers ended without a finished model; see the logs under {run_folder}")


def _finished(run_folder: Path) -> Path | None:
    return next((marker.parent for marker in sorted(run_folder.glob(f"checkpoint_*/{FINAL}"))), None)


def _show(progress: Progress, line: Line) -> None:
    loss, rate = round(float(line["loss"]), 3), f"{line['tokens_per_second']} tok/s"
    used, memory = f"{float(line['mfu']):.0%}", f"{float(line['memory_gb']):.1f} GB"
    progress.update(int(line["step"]), int(line["steps"]), loss=loss, rate=rate, mfu=used, memory=memory)


def _cause(error: Exception) -> TrainingError:
    """The worker's own error where there is one: Ray wraps it in its own and in the text of a trace."""
    for worker_error in getattr(error, "worker_failures", {}).values():
        cause = getattr(worker_error, "cause", None) or worker_error
        if isinstance(cause, TrainingError):
            return cause
    last = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    return TrainingError(f"training failed: {last}; run again to go on from the last checkpoint")


def _built(job: Job, told: dict[str, Any], found: list[dict[str, str]], budgets: Sequence[Choice]) -> Built:
    history, timings = told["history"], told["timings"]
    losses = [line["loss"] for line in history]
    outcomes = Counter(line["outcome"] for line in found)
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
    }
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
