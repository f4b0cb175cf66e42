"""The project's engine over the benchmark's samples: shards, planner, reading ahead, packed forward pass, DeepSpeed."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from configs.load import deepspeed_file
from configs.schema import StageConfig
from model.order import StepOrder
from model.packed import PackedLlava
from model.stages import Stage, freeze_for
from tasks.progress import Silent
from tasks.train.engine import Engine, deepspeed_settings
from tasks.train.mixture import Sources
from tasks.train.steps import Planner, RowReader, read_ahead
from tasks.train.survey import look_at
from tests.benchmarks.training.data import conversations, open_base
from tests.benchmarks.training.gate import Gate, Told

LR = 2e-5
ENDLESS = 10_000


class Parts:
    """Seconds by part of a step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count what is done within."""
        started = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - started

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, counted."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self.of(name):
                return function(*args, **kwargs)

        return counted

    def taken(self) -> dict[str, float]:
        """What was counted since this was last asked. The parts of the forward pass are taken out of it."""
        found = dict(self.seconds)
        if "forward" not in found:
            return {}
        found["language"] = found.pop("forward", 0.0) - found.get("vision", 0.0) - found.get("head", 0.0)
        self.seconds.clear()
        return {name: round(seconds, 3) for name, seconds in found.items()}


def run(told: Told, gate: Gate) -> None:
    """Train for as many passes as the gate lets through. One of `told.options["ranks"]` ranks."""
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    assembled = open_base(told.base)
    stage = Stage(told.stage)
    freeze_for(assembled.llava, stage)
    config = StageConfig(
        batch=told.samples, steps=ENDLESS, lr=LR, row_tokens=told.row_tokens, max_length=4096, warmup_share=0.0
    )
    deepspeed = json.loads(deepspeed_file("zero2").read_text())
    packed = PackedLlava(assembled.llava)
    engine = Engine(packed, config, ENDLESS, deepspeed_settings(deepspeed, config, "bf16", ranks))
    reader = Sources({"": told.shards}, told.stage)
    tokenizer = conversations(assembled)
    survey = look_at(reader, tokenizer, config.max_length, Silent()).survey
    order = StepOrder(0, len(survey.numbers), config.batch)
    planner = Planner(survey, order, rank, ranks, told.row_tokens)
    rows = RowReader(reader, survey, tokenizer, assembled, config.max_length)
    parts = watched(engine, packed) if told.device == "cpu" else Parts()
    engine.deepspeed.train()
    ahead = read_ahead(0, ENDLESS, planner.plan, rows.rows)
    while gate.go():
        started = time.perf_counter()
        with parts.of("data"):
            plan, held = next(ahead)
        engine.step(plan.step, held, plan.supervised)
        seconds = time.perf_counter() - started
        fill = plan.tokens / (ranks * len(held) * told.row_tokens)
        gate.done(seconds, plan.tokens, parts=parts.taken(), fill=fill, supervised=plan.supervised)
    ahead.close()  # type: ignore[attr-defined]


def watched(engine: Engine, packed: PackedLlava) -> Parts:
    """Have the parts of a step counted. On a GPU they would have to wait for each other, and say nothing."""
    parts = Parts()
    packed.features = parts.around("vision", packed.features)  # type: ignore[method-assign]
    packed.llava.lm_head.forward = parts.around("head", packed.llava.lm_head.forward)
    packed.forward = parts.around("forward", packed.forward)  # type: ignore[method-assign]
    engine.deepspeed.backward = parts.around("backward", engine.deepspeed.backward)
    engine._update = parts.around("optimizer", engine._update)  # type: ignore[method-assign]
    return parts
