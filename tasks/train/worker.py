"""What runs on each Ray worker: one stage of training from a step on, to its end."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks.train.job import Job

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
        from model.build import assemble, load
        from model.order import StepOrder
        from model.own_template import template_for
        from model.packed import PackedLlava
        from model.stages import Stage, freeze_for
        from tasks.shards import ShardReader
        from tasks.train.engine import Engine, deepspeed_settings
        from tasks.train.steps import Planner, RowReader
        from tasks.train.survey import Survey

        self.job, self.rank, self.board = job, rank, board
        self.history: list[dict[str, float]] = []
        self.seconds: list[float] = []
        train, config = job.train, job.config
        self.assembled = (
            assemble(job.start, train.projector.kind, train.projector.feature_layer, train.image_aspect, job.seed)
            if job.stage is Stage.ALIGN
            else load(job.start)
        )
        freeze_for(self.assembled.llava, job.stage)
        settings = deepspeed_settings(job.deepspeed, config, train.precision, ranks)
        self.engine = Engine(PackedLlava(self.assembled.llava), config, job.steps, settings)
        survey = Survey.load(job.survey)
        order = StepOrder(job.seed, len(survey.numbers), config.batch)
        self.planner = Planner(survey, order, rank, ranks, config.row_tokens)
        tokenizer = self.assembled.conversations(template_for(job.template, self.assembled.tokenizer))
        reader = ShardReader(job.shards, job.stage_samples)
        self.rows = RowReader(reader, survey, tokenizer, self.assembled, config.max_length)

    def restore(self, folder: Path) -> int:
        """Load engine, history and step from a checkpoint folder. Returns the step to go on with."""
        self.engine.deepspeed.load_checkpoint(str(folder), tag="engine")
        state = json.loads((folder / "loop.json").read_text())
        self.history = state["history"]
        self.seconds = state["seconds"]
        return int(state["step"])

    def run(self, first: int, scratch: Path) -> None:
        """Steps `first` .. the last; checkpoints on the way, the finished model at the end."""
        from tasks.train.steps import read_ahead

        config = self.job.config
        self.engine.deepspeed.train()
        for plan, rows in read_ahead(first, self.job.steps, self.planner.plan, self.rows.rows):
            started = time.perf_counter()
            result = self.engine.step(plan.step, rows, plan.supervised)
            done = plan.step + 1
            self.seconds.append(round(time.perf_counter() - started, 4))
            self.history.append(
                {
                    "step": done,
                    "loss": round(result.loss, 6),
                    "lr": result.lr,
                    "grad_norm": round(result.grad_norm, 5),
                    "tokens": plan.tokens,
                    "supervised_tokens": plan.supervised,
                    "samples": plan.samples,
                }
            )
            if self.rank == 0 and (done % config.log_every == 0 or done in (1, self.job.steps)):
                self.tell(done, plan.tokens)
            if done % config.checkpoint_every == 0 and done < self.job.steps:
                self._checkpoint(done, scratch / f"step-{done}")
        self._finish(scratch / FINAL)

    def tell(self, step: int, tokens: int) -> None:
        """Put a line on the board."""
        recent = self.seconds[-self.job.config.log_every :]
        rate = tokens * len(recent) / max(1e-9, sum(recent))
        self.board.put.remote({**self.history[-1], "steps": self.job.steps, "tokens_per_second": round(rate)})

    def _checkpoint(self, step: int, folder: Path) -> None:
        import ray.train

        folder.mkdir(parents=True)
        self.engine.deepspeed.save_checkpoint(str(folder), tag="engine")
        if self.rank == 0:
            state = {"step": step, "history": self.history, "seconds": self.seconds}
            (folder / "loop.json").write_text(json.dumps(state))
        ray.train.report({"step": step}, checkpoint=ray.train.Checkpoint.from_directory(str(folder)))

    def _finish(self, folder: Path) -> None:
        """Rank 0 hands over the finished model, in the precision it was trained in."""
        import ray.train

        folder.mkdir(parents=True)
        weights = self.engine.weights()
        if self.rank == 0:
            self.assembled.save(folder / "model", self.chat_template, weights)
            (folder / "history.json").write_text(json.dumps({"history": self.history, "seconds": self.seconds}))
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
