"""The stack of `make stack` for tests: started by its own command in a folder of its own, stopped at the end.

STACK_UNDER_TEST names the home of a stack that is up: it is used, and left as it is.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.stack.leftovers import left_over
from infra.stack.places import Places
from infra.stack.plan import Plan, read_plan
from infra.stack.starter import Condition, conditions
from infra.stack.supervisor import Supervisor

PROJECT = Path(__file__).resolve().parents[2]
MINUTES = 15 * 60.0
OURS = ("LLAVAFLOW_", "PREFECT_", "MLFLOW_", "AWS_", "RAY_")


@dataclass(frozen=True)
class Stack:
    """A stack: its folders, its plan, the environment of whoever uses it."""

    places: Places
    root: Path
    """LLAVAFLOW_ROOT of its worker and of commands."""

    @property
    def plan(self) -> Plan:
        plan = read_plan(self.places)
        assert plan is not None
        return plan

    @property
    def environment(self) -> dict[str, str]:
        """As after `. .stack/env` in a fresh shell."""
        told = dict(
            shlex.split(line.removeprefix("export "))[0].split("=", 1)
            for line in self.places.env.read_text().splitlines() if line.startswith("export ")
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        return {**kept, **told}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`python -m infra.stack ...`."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        environment |= {"LLAVAFLOW_STACK": str(self.places.home), "LLAVAFLOW_ROOT": str(self.root)}
        return subprocess.run(
            [sys.executable, "-m", "infra.stack", *words], cwd=PROJECT, env=environment, capture_output=True, text=True,
            timeout=MINUTES, check=False,
        )

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command of the environment's folder bin, e.g. prefect, with the stack's environment and more of it."""
        command = [str(Path(sys.executable).parent / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd=PROJECT, env={**self.environment, **more}, capture_output=True, text=True, timeout=MINUTES,
            check=False,
        )

    def llavaflow(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`llavaflow ...` of this tree."""
        return self.run("python", "-m", "flows.cli", *words, **more)

    def conditions(self) -> list[Condition]:
        return conditions(self.places)

    @property
    def supervisor(self) -> Supervisor:
        return Supervisor(self.places)

    def left_over(self) -> list[str]:
        """Processes that the supervisor or its programs started, by name."""
        return [process.name() for process in left_over(self.places)]


@contextmanager
def stack_in(folder: Path) -> Iterator[Stack]:
    """A stack that is up within the block."""
    stack = Stack(Places(folder / "stack"), folder / "runs")
    try:
        done = stack.command("start")
        assert done.returncode == 0, done.stdout + done.stderr
        yield stack
    finally:
        done = stack.command("stop", "--wipe")
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def stack_under_test() -> Iterator[Stack]:
    """The one that STACK_UNDER_TEST names, or a fresh one."""
    if home := os.environ.get("STACK_UNDER_TEST"):
        places = Places(Path(home))
        told = places.env.read_text().split("LLAVAFLOW_ROOT=")[1].split("\n")[0]
        yield Stack(places, Path(told))
        return
    # Not under pytest's own folder: as root, Postgres runs as another user, who cannot enter there.
    with tempfile.TemporaryDirectory(prefix="stack-") as folder, stack_in(Path(folder)) as stack:
        yield stack


def wait_for(condition: Callable[[], bool], seconds: float = 120, poll: float = 0.5) -> None:
    """Until it is true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(poll)
