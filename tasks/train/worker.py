"""What runs on each Ray worker: one stage of training from a step on, to its end."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.train.checkpoints import FINAL, Checkpoints
from tasks.train.job import Job
from tasks.train.place import scratch_at

if TYPE_CHECKING:
    from torch import Tensor

    from model.packed import Row
    from tasks.train.profile import Profiled
    from tasks.train.state import State
    from tasks.train.steps import StepPlan


def train_loop_per_worker(told: dict[str, Any]) -> int:
    """Train the stage of `told["job"]`, resuming from its last checkpoint. Lines go to `told["board"]`.

    Returns the number of steps done: fewer than the job has if the workers were told to stop.
    """
    import ray.train
    import torch

    from tasks.train.drain import Orders

    _quiet()
    context = ray.train.get_context()
    job: Job = told["job"]
    with tempfile.TemporaryDirectory(prefix="llavaflow-") as scratch:
        loop = _Loop(job, context.get_world_rank(), context.get_world_size(), told["board"], Path(scratch))
        torch.manual_seed(job.seed)
        with Orders(told["board"]) if loop.rank == 0 else nullcontext():
            return loop.run(loop.restore())


class _Loop:
    """The loop's parts. Its whole data state is the step; everything else is model and optimizer."""

    def __init__(self, job: Job, rank: int, ranks: int, board: Any, scratch: Path) -> None:
        import torch

        from model.build import assemble, load
        from model.lora import Adapter, adapt
        from model.own_template import template_for
        from model.packed import PackedLlava
        from model.shapes import adapter_shape
        from model.stages import Stage, freeze_for
        from tasks.train.engine import Engine, deepspeed_settings
        from tasks.train.figures import utilisation_of
        from tasks.train.keeping import Keeper
        from tasks.train.mixture import Sources, order_of
        from tasks.train.partitions import Partitions
        from tasks.train.rows import choices_of
        from tasks.train.state import identity_of
        from tasks.train.steps import Planner, RowReader
        from tasks.train.survey import Survey
        from tasks.train.watched import Watched

        self.job, self.rank, self.ranks, self.board = job, rank, ranks, board
        self.history: list[dict[str, int | float]] = []
        self.timings: list[dict[str, float]] = []
        self.segments: list[tuple[int, int]] = []
        self.answers: list[dict[str, str | int | None]] = []
        self.profiled: Profiled | None = None
        self.identity = identity_of(job)
        train, config = job.train, job.config
        self.assembled = (
            assemble(job.start, train.projector.kind, train.projector.feature_layer, train.image_aspect, job.seed)
            if job.stage is Stage.ALIGN
            else load(job.start)
        )
        freeze_for(self.assembled.llava, job.stage)
        self.adapter = Adapter(**job.lora.model_dump(exclude={"stages"})) if job.lora else None
        if self.adapter is not None:
            adapt(self.assembled.llava, self.adapter, job.seed)
        settings = deepspeed_settings(job.deepspeed, config, train.precision, ranks)
        self.engine = Engine(PackedLlava(self.assembled.llava), config, job.steps, settings)
        self.scratch, self.checkpoints = scratch, Checkpoints(job.place, scratch, train.keep_checkpoints)
        self.keeper = Keeper(
            self.engine, Partitions(self.engine.deepspeed), self.checkpoints, scratch_at(job.place, scratch), rank,
            config, self.note,
        )
        number = torch.bfloat16 if train.precision == "bf16" else torch.float32
        self.utilisation = utilisation_of(
            self.assembled.llava.config, self.engine.deepspeed.device, number,
            language_trains=job.stage is not Stage.ALIGN, adapters=adapter_shape(train.lora, job.stage.value),
        )
        self.row_tokens = choices_of(job.rows)[-1].row_tokens
        survey = Survey.load(job.survey)
        reader = Sources(job.folders, job.stage_samples)
        order = order_of(job.seed, config.mixture, reader.usable(survey.numbers), config.batch)
        self.planner = Planner(survey, order, rank, ranks, self.row_tokens)
        tokenizer = self.assembled.conversations(template_for(job.template, self.assembled.tokenizer))
        self.rows = RowReader(reader, survey, tokenizer, self.assembled, config.max_length)
        self.watched: Watched | None = None
        if config.sample_every:
            own = next(iter(job.folders.values()))
            self.watched = Watched(own, job.stage_samples, tokenizer, self.assembled, config.max_length)

    def restore(self) -> int:
        """Load engine, history and step of the last checkpoint. Returns the step to go on with.

        Raises TrainingError for a checkpoint of other settings, samples or library versions.
        """
        state = self.keeper.restore(self.identity)
        if state is None:
            return 0
        self.history, self.timings, self.segments = state.history, state.timings, state.segments
        self.answers = state.answers
        return state.step

    def run(self, first: int) -> int:
        """Steps `first` .. the last; checkpoints on the way, the finished model at the end. Returns the steps done."""
        from tasks.train.profile import Profiled
        from tasks.train.steps import read_ahead

        self.segments = [*self.segments, (first, self.ranks)]
        self.engine.deepspeed.train()
        if self.job.profile and self.rank == 0:
            self.profiled = Profiled(self.engine.deepspeed, first, self.job.steps)
        asked = time.perf_counter()
        for plan, rows in read_ahead(first, self.job.steps, self.planner.plan, self.rows.rows):
            waited = time.perf_counter() - asked
            with self.profiled.step(plan.step, waited) if self.profiled else nullcontext():
                heard = self._step(plan, rows, waited)
            done = plan.step + 1
            self._watch(done)
            if done < self.job.steps:
                if heard[1]:
                    self.keeper.keep_and_wait(self._state(done))
                    self.note(f"told to stop: kept where it is, after step {done} of {self.job.steps}")
                    return done
                if self.keeper.due(done, heard):
                    self.keeper.keep(self._state(done))
            asked = time.perf_counter()
        self._finish(self.scratch / FINAL)
        return self.job.steps

    def _step(self, plan: StepPlan, rows: Sequence[Row], waited: float) -> tuple[float, ...]:
        import torch

        from tasks.errors import NonFiniteLoss
        from tasks.train.figures import peak_memory
        from tasks.train.rows import ran_out

        config, started = self.job.config, time.perf_counter()
        if self.adapter is not None:
            # What adapters drop is then the same after a restart, on any device.
            torch.manual_seed((self.job.seed * 1_000_003 + plan.step) * self.ranks + self.rank)
        try:
            result = self.engine.step(plan.step, rows, plan.supervised, self.keeper.said())
        except NonFiniteLoss as error:
            keys = ", ".join(self.rows.keys_of(self.planner.order.step(plan.step)))
            raise NonFiniteLoss(f"{error}; its samples: {keys}") from error
        except (RuntimeError, MemoryError) as error:
            if ran_out(error):
                self._halve(plan, error)
            raise
        done, seconds = plan.step + 1, time.perf_counter() - started
        lengths = [length for row in self.planner.lengths(plan) for length in row]
        self.timings.append(
            {
                "seconds": round(seconds, 4),
                "waiting": round(waited, 4),
                "row_fill": round(plan.tokens / (self.ranks * len(rows) * self.row_tokens), 4),
                "mfu": round(self.utilisation.share(lengths, rows, seconds + waited), 4),
                "memory_gb": round(peak_memory(self.engine.deepspeed.device), 3),
            }
        )
        self.history.append(
            {
                "step": done,
                "loss": round(result.loss, 6),
                "lr": result.lr,
                "projector_lr": result.projector_lr,
                "grad_norm": round(result.grad_norm, 5),
                "tokens": plan.tokens,
                "supervised_tokens": plan.supervised,
                "samples": plan.samples,
            }
        )
        if self.rank == 0 and (done % config.log_every == 0 or done in (1, self.job.steps)):
            self.tell()
        return result.heard

    def _halve(self, plan: StepPlan, error: Exception) -> None:
        """Write the halved row budget down for all ranks, and end: others may wait for this one inside a collective.

        Raises OutOfMemory, or TrainingError where rows cannot get shorter.
        """
        from tasks.errors import OutOfMemory
        from tasks.train.rows import halve

        choice = halve(self.job.rows, plan.step + 1, self.planner.lengths(plan))
        where = f"step {plan.step + 1} ran out of memory on rank {self.rank}"
        said = f"{where}: rows of {choice.row_tokens} tokens from now on"
        self.board.put.remote({"note": said})
        raise OutOfMemory(said) from error

    def tell(self) -> None:
        """Put a line on the board."""
        from tasks.train.seen import speeds

        recent = self.job.config.log_every
        seen = speeds(self.history[-recent:], self.timings[-recent:])
        self.board.put.remote({**self.history[-1], "steps": self.job.steps, **seen})

    def note(self, message: str) -> None:
        """Put a sentence on the board, for the log; the first rank's, or one of trouble."""
        if self.rank == 0 or "could not" in message or "failed" in message:
            self.board.put.remote({"note": message})

    def _watch(self, done: int) -> None:
        """Have held-out samples answered where it is time: by all ranks where each holds a part of the weights."""
        every = self.job.config.sample_every
        if self.watched is None or every is None or (done % every and done < self.job.steps):
            return
        if self.rank == 0 or self.engine.partitioned:
            self.answers += [answered.model_dump() for answered in self.watched.ask(self.engine.deepspeed, done)]

    def _state(self, step: int) -> State:
        from tasks.train.state import State

        # Copies: it is written while further steps are added.
        return State(
            step=step, identity=self.identity, segments=self.segments, history=[*self.history],
            timings=[*self.timings], answers=[*self.answers],
        )

    def _finish(self, folder: Path) -> None:
        """Rank 0 hands over the finished model, in the precision it was trained in."""
        folder.mkdir(parents=True)
        weights = self.engine.weights()
        self.keeper.wait()
        if weights is not None:
            self._save(folder, weights)
            told = {
                "history": self.history, "timings": self.timings, "segments": self.segments, "answers": self.answers,
                "checkpoint_seconds": self.keeper.seconds, "checkpoint_bytes": self.keeper.bytes,
                "matmul_ceiling": self.utilisation.ceiling,
            }
            if self.profiled is not None:
                self.profiled.write(folder / "profile")
            if self.watched is not None:
                self.watched.write_pictures(folder)
            (folder / "history.json").write_text(json.dumps(told))
            self.checkpoints.finish(folder)

    def _save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """The model, adapters merged into it and written beside it."""
        from model.lora import merged, save_adapter, unwrap

        if self.adapter is None:
            return self.assembled.save(folder / "model", self.chat_template, weights)
        unwrap(self.assembled.llava)
        self.assembled.save(folder / "model", self.chat_template, merged(weights, self.adapter))
        save_adapter(folder / "adapter", self.assembled.llava, weights, self.adapter)

    @property
    def chat_template(self) -> Any:
        """The template that the saved processor carries: the experiment's, whatever the stage trains on."""
        from model.own_template import template_for

        return template_for(self.job.train.template, self.assembled.tokenizer)


def _quiet() -> None:
    """DeepSpeed and transformers say a lot; warnings are enough."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in ("DeepSpeed", "deepspeed"):
        logging.getLogger(name).setLevel(logging.WARNING)
