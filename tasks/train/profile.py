"""A few steps looked at closely: a trace for chrome://tracing or Perfetto, and a table of where their time goes.

Times are those between the ends of parts, waited for on a GPU; to be measured slows steps down a little, so shares are
worth more than sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from model.stages import LANGUAGE, PROJECTOR, VISION

SKIPPED, STEPS = 2, 3
"""Steps that warm up, and steps that are looked at."""
FOLDER, TRACE, TABLE = "profile", "trace.json", "table.md"
FORWARD, BACKWARD, OPTIMIZER, DATA = "forward", "backward", "optimizer", "data"
MODULES = {VISION: "vision", PROJECTOR: "projector", LANGUAGE: "language model, forward"}
"""Parts of the model whose passes are measured by themselves, and what the table calls them."""


class Profiled:
    """Looks at some steps of a DeepSpeed engine over a `PackedLlava`, from the third after `first` on.

    A stage of fewer steps is looked at in its last one.
    """

    def __init__(self, engine: Any, first: int, steps: int) -> None:
        self._engine = engine
        self._begin = min(first + SKIPPED, steps - 1)
        self._end = min(self._begin + STEPS, steps)
        self._seconds: dict[str, float] = {}
        self._hooks = ExitStack()
        activities = [ProfilerActivity.CPU]
        if engine.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self._profile = profile(activities=activities)

    @contextmanager
    def step(self, step: int, waited: float) -> Iterator[None]:
        """A step that waited so many seconds for its data."""
        if not self._begin <= step < self._end:
            yield
            return
        if step == self._begin:
            self._install()
            self._profile.start()
        self._add(DATA, waited)
        with self._part("step"):
            yield
        if step == self._end - 1:
            self._profile.stop()
            self._hooks.close()

    def write(self, folder: Path) -> None:
        """Write trace and table."""
        folder.mkdir(parents=True, exist_ok=True)
        self._profile.export_chrome_trace(str(folder / TRACE))
        (folder / TABLE).write_text(table_of(self._seconds, self._end - self._begin), encoding="utf-8")

    def _install(self) -> None:
        for name, module in self._engine.module.named_modules():
            part = MODULES.get(name.rpartition(".")[2])
            if part is not None:
                self._around(module, part)
        self._around(self._engine.module, FORWARD)
        for method, part in (("backward", BACKWARD), ("step", OPTIMIZER)):
            setattr(self._engine, method, self._wrapped(getattr(self._engine, method), part))
            self._hooks.callback(delattr, self._engine, method)

    def _around(self, module: nn.Module, part: str) -> None:
        """Measure a module's passes by hooks, which leaves the module as it is."""
        opened: list[AbstractContextManager[None]] = []

        def before(*_: Any) -> None:
            opened.append(self._part(part))
            opened[-1].__enter__()

        def after(*_: Any) -> None:
            opened.pop().__exit__(None, None, None)

        self._hooks.callback(module.register_forward_pre_hook(before).remove)
        self._hooks.callback(module.register_forward_hook(after).remove)

    def _wrapped(self, method: Callable[..., Any], part: str) -> Callable[..., Any]:
        def measured(*positional: Any, **named: Any) -> Any:
            with self._part(part):
                return method(*positional, **named)

        return measured

    @contextmanager
    def _part(self, part: str) -> Iterator[None]:
        self._wait()
        started = time.perf_counter()
        with record_function(f"llavaflow: {part}"):
            yield
            self._wait()
        self._add(part, time.perf_counter() - started)

    def _wait(self) -> None:
        if self._engine.device.type == "cuda":
            torch.cuda.synchronize(self._engine.device)

    def _add(self, part: str, seconds: float) -> None:
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds


def table_of(seconds: dict[str, float], steps: int) -> str:
    """Where the time of some steps went, as a markdown table; `seconds` by part, `step` those of the whole without
    the waiting for data."""
    inside = {name: seconds.get(name, 0.0) for name in MODULES.values()}
    whole = seconds["step"] + seconds[DATA]
    parts = {
        **inside,
        "logits and loss": seconds.get(FORWARD, 0.0) - sum(inside.values()),
        BACKWARD: seconds.get(BACKWARD, 0.0),
        OPTIMIZER: seconds.get(OPTIMIZER, 0.0),
        "waiting for data": seconds[DATA],
    }
    parts["rest"] = whole - sum(parts.values())
    rows = [f"| {name} | {value / steps:.4f} | {value / max(whole, 1e-9):.1%} |" for name, value in parts.items()]
    head = ["| part | seconds a step | share |", "|---|---|---|"]
    return "\n".join([*head, *rows, f"| a step | {whole / steps:.4f} | 100.0% |"]) + "\n"
