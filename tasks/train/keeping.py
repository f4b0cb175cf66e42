"""When a rank keeps a checkpoint, how it does so beside the steps, and how it finds the one to go on from.

A copy of what the rank holds is made between two steps; a thread writes it while training goes on. One copy at most is
under way: who comes to the next checkpoint sooner than the last one is written waits for it. The last ones, when the
workers are told to stop, are waited for by all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor

from configs.schema import StageConfig
from tasks.errors import EnvironmentProblem
from tasks.train.checkpoints import Checkpoints, TornCheckpoint, part_name
from tasks.train.drain import told_to_stop
from tasks.train.engine import Engine
from tasks.train.partitions import Partitions
from tasks.train.state import FILE, State, check

if TYPE_CHECKING:
    from concurrent.futures import Executor


class Keeper:
    """One rank's end of the checkpoints of a stage. `say` tells whoever watches the run."""

    def __init__(
        self, engine: Engine, partitions: Partitions, checkpoints: Checkpoints, scratch: Path, rank: int,
        config: StageConfig, say: Callable[[str], None],
    ) -> None:
        self._engine, self._partitions, self._checkpoints = engine, partitions, checkpoints
        self._scratch, self._rank, self._config, self._say = scratch, rank, config, say
        self._writer: Executor = ThreadPoolExecutor(1, "checkpoint")
        self._under_way: tuple[int, Future[int]] | None = None
        self._kept = time.monotonic()
        """When the last checkpoint was made, or training began."""
        self.seconds: list[float] = []
        """How long training stood still for each checkpoint."""
        self.bytes = 0
        """Size of the last one that was written, of this rank."""

    def said(self) -> tuple[float, float]:
        """What this rank has to say before a step: whether the first one's clock is due; whether it has to leave."""
        minutes = self._config.checkpoint_minutes
        due = self._rank == 0 and minutes is not None and time.monotonic() - self._kept > minutes * 60
        return float(due), float(told_to_stop())

    def due(self, done: int, heard: tuple[float, ...]) -> bool:
        """Whether all make a checkpoint now, given what they heard of one another in the step."""
        return done % self._config.checkpoint_every == 0 or heard[0] > 0

    def keep(self, state: State) -> None:
        """Make a checkpoint; it is written while training goes on."""
        started = time.perf_counter()
        if problem := self._settle():
            self._say(f"{problem}; training goes on")
        self._scratch.mkdir(parents=True, exist_ok=True)
        tensors = self._partitions.snapshot()
        self._under_way = (state.step, self._writer.submit(self._write, state, tensors))
        self._kept = time.monotonic()
        self.seconds.append(round(time.perf_counter() - started, 4))

    def keep_and_wait(self, state: State) -> None:
        """Make a checkpoint, and come back when every rank has written its part.

        Raises EnvironmentProblem, on every rank, when one of them could not.
        """
        self.keep(state)
        problem = self._settle()
        if self._engine.any_rank(problem is not None):
            raise EnvironmentProblem(
                problem or f"another worker could not write the checkpoint of step {state.step}; earlier ones are kept"
            )
        self.prune()

    def wait(self) -> None:
        """Until what is under way is written, or has failed, which is said."""
        if problem := self._settle():
            self._say(problem)

    def restore(self, identity: dict[str, str]) -> State | None:
        """Load the newest whole checkpoint and return its state; None where there is none.

        A torn one is removed, which is said, and the one before it taken. Every rank has to call it. Raises
        TrainingError for a checkpoint of other settings, samples or library versions.
        """
        while True:
            steps = list(self._checkpoints.whole()) if self._rank == 0 else []
            step = self._engine.from_first(steps[0] if steps else 0)
            if not step:
                return None
            torn, state, files = "another worker could not read its part", None, list[Path]()
            try:
                state = State.parse(self._checkpoints.read(step, FILE))
                check(state.identity, identity)
                files = self._checkpoints.fetch(step, self._rank, self._engine.ranks)
            except TornCheckpoint as error:
                torn = str(error)
            # Before anything is loaded, which all have to do together.
            if not self._engine.any_rank(not files) and state is not None:
                break
            if self._rank == 0:
                self._say(f"the checkpoint of step {step} is torn ({torn}); the one before it is taken")
                self._checkpoints.remove(step)
        self._partitions.load(files, self._rank, step)
        if self._rank == 0:
            self._checkpoints.remove_after(step)
        return state

    def prune(self) -> None:
        """Remove old checkpoints; the first rank does."""
        if self._rank == 0:
            self._checkpoints.prune()

    def _write(self, state: State, tensors: dict[str, Tensor]) -> int:
        made = [self._scratch / part_name(self._rank)]
        save_file(tensors, made[0])
        tensors.clear()
        if self._rank == 0:
            made.append(self._scratch / FILE)
            made[1].write_text(state.model_dump_json(), encoding="utf-8")
        written = self._checkpoints.write(state.step, self._rank, self._engine.ranks, state.segments, made)
        self.prune()
        return written

    def _settle(self) -> str | None:
        """Wait for what is under way. Returns what went wrong with it."""
        if self._under_way is None:
            return None
        (step, written), self._under_way = self._under_way, None
        try:
            self.bytes = written.result()
        except (EnvironmentProblem, OSError) as error:
            return str(error) if isinstance(error, EnvironmentProblem) else (
                f"the checkpoint of step {step} could not be written ({error}); earlier checkpoints are kept"
            )
        return None
