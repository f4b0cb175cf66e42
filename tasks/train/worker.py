"""What runs on each Ray worker: one stage of training from a step on, to its end."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.train.job import Job

if TYPE_CHECKING:
    from model.packed import Row
    from tasks.train.steps import StepPlan

FINAL = "final"


def train_loop_per_worker(told: dict[str, Any]) -> None:
    """Train the stage of `told["job"]`, resuming from the run's last checkpoint. Lines go to `told["board"]`."""
    import ray.train
    import torch

    _quiet()
    context = ray.train.get_context()
    job: Job = told["job"]
    loop = _Loop(job, context.get_world_rank(), context.get_world_size(), told["board"])
    torch.manual_seed(job.seed)
    with tempfile.TemporaryDirectory(prefix="llavaflow-") as scratch:
        first = 0
        if checkpoint := ray.train.get_checkpoint():
            with checkpoint.as_directory() as folder:
                first = loop.restore(Path(folder))
        loop.run(first, Path(scratch))


class _Loop:
    """The loop's parts. Its whole data state is the step; everything else is model and optimizer."""

    def __init__(self, job: Job, rank: int, ranks: int, board: Any) -> None:
        import torch

        from model.build import assemble, load
        from model.order import StepOrder
        from model.own_template import template_for
        from model.packed import PackedLlava
        from model.stages import Stage, freeze_for
        from tasks.shards import ShardReader
        from tasks.train.engine import Engine, deepspeed_settings
        from tasks.train.figures import utilisation_of
        from tasks.train.partitions import Partitions
        from tasks.train.rows import choices_of
        from tasks.train.state import identity_of
        from tasks.train.steps import Planner, RowReader
        from tasks.train.survey import Survey

        self.job, self.rank, self.ranks, self.board = job, rank, ranks, board
        self.history: list[dict[str, int | float]] = []
        self.timings: list[dict[str, float]] = []
        self.segments: list[tuple[int, int]] = []
        self.identity = identity_of(job)
        self.kept = time.monotonic()
        """When the last checkpoint was made, or training began."""
        train, config = job.train, job.config
        self.assembled = (
            assemble(job.start, train.projector.kind, train.projector.feature_layer, train.image_aspect, job.seed)
            if job.stage is Stage.ALIGN
            else load(job.start)
        )
        freeze_for(self.assembled.llava, job.stage)
        settings = deepspeed_settings(job.deepspeed, config, train.precision, ranks)
        self.engine = Engine(PackedLlava(self.assembled.llava), config, job.steps, settings)
        number = torch.bfloat16 if train.precision == "bf16" else torch.float32
        self.utilisation = utilisation_of(
            self.assembled.llava.config, self.engine.deepspeed.device, number,
            language_trains=job.stage is not Stage.ALIGN,
        )
        self.row_tokens = choices_of(job.rows)[-1].row_tokens
        self.partitions = Partitions(self.engine.deepspeed)
        survey = Survey.load(job.survey)
        order = StepOrder(job.seed, len(survey.numbers), config.batch)
        self.planner = Planner(survey, order, rank, ranks, self.row_tokens)
        tokenizer = self.assembled.conversations(template_for(job.template, self.assembled.tokenizer))
        reader = ShardReader(job.shards, job.stage_samples)
        self.rows = RowReader(reader, survey, tokenizer, self.assembled, config.max_length)

    def restore(self, folder: Path) -> int:
        """Load engine, history and step from a checkpoint folder. Returns the step to go on with.

        Raises TrainingError for a checkpoint that is not whole, or of other settings, samples or library versions.
        """
        from tasks.train.state import State, check

        state = State.load(folder)
        check(state.identity, self.identity)
        self.partitions.load(folder, self.rank, state.step)
        self.history, self.timings, self.segments = state.history, state.timings, state.segments
        return state.step

    def run(self, first: int, scratch: Path) -> None:
        """Steps `first` .. the last; checkpoints on the way, the finished model at the end."""
        from tasks.train.steps import read_ahead

        self.segments = [*self.segments, (first, self.ranks)]
        self.engine.deepspeed.train()
        asked = time.perf_counter()
        for plan, rows in read_ahead(first, self.job.steps, self.planner.plan, self.rows.rows):
            waited = time.perf_counter() - asked
            self._step(plan, rows, waited)
            done = plan.step + 1
            if done < self.job.steps and self._due(done):
                self._checkpoint(done, scratch / f"step-{done}")
            asked = time.perf_counter()
        self._finish(scratch / FINAL)

    def _step(self, plan: StepPlan, rows: Sequence[Row], waited: float) -> None:
        from tasks.errors import NonFiniteLoss
        from tasks.train.figures import peak_memory
        from tasks.train.rows import ran_out

        config, started = self.job.config, time.perf_counter()
        try:
            result = self.engine.step(plan.step, rows, plan.supervised)
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

    def _due(self, done: int) -> bool:
        """Whether to make a checkpoint now. Every rank has to ask: their clocks differ, and all must do the same."""
        config = self.job.config
        if done % config.checkpoint_every == 0:
            return True
        if config.checkpoint_minutes is None:
            return False
        old = time.monotonic() - self.kept > config.checkpoint_minutes * 60
        return self.engine.any_rank(self.rank == 0 and old)

    def _checkpoint(self, step: int, folder: Path) -> None:
        import ray.train

        from tasks.train.state import State

        folder.mkdir(parents=True)
        self.partitions.save(folder, self.rank)
        if self.rank == 0:
            State(
                step=step, identity=self.identity, segments=self.segments, history=self.history, timings=self.timings
            ).save(folder)
        ray.train.report({"step": step}, checkpoint=ray.train.Checkpoint.from_directory(str(folder)))
        shutil.rmtree(folder)
        self.kept = time.monotonic()

    def _finish(self, folder: Path) -> None:
        """Rank 0 hands over the finished model, in the precision it was trained in."""
        import ray.train

        folder.mkdir(parents=True)
        weights = self.engine.weights()
        if self.rank == 0:
            self.assembled.save(folder / "model", self.chat_template, weights)
            told = {
                "history": self.history, "timings": self.timings, "segments": self.segments,
                "matmul_ceiling": self.utilisation.ceiling,
            }
            (folder / "history.json").write_text(json.dumps(told))
            (folder / FINAL).touch()
        ray.train.report({"step": self.job.steps}, checkpoint=ray.train.Checkpoint.from_directory(str(folder)))

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
