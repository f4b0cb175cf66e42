"""Training that is killed again and again, started again each time, until it is done."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from flows.environment import QUIET
from tests.fakes.tiny_training import TinyJob, write_job

Victim = Literal["worker", "driver", "node"]
PATIENCE_SECONDS = 600.0


@dataclass
class Start:
    """One start of the process, and what it told."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(default_factory=list)

    def next_line(self, name: str) -> Any:
        """The value of the next line that has this name; None when the process ended without one."""
        assert self.process.stdout is not None
        for text in self.process.stdout:
            self.lines.append(json.loads(text))
            if name in self.lines[-1]:
                return self.lines[-1][name]
        return None

    @property
    def notes(self) -> list[str]:
        """What it had to say."""
        return [line["note"] for line in self.lines if "note" in line]

    def facts(self) -> dict[str, Any]:
        """What it says when it has come to its end."""
        facts = self.next_line("facts")
        assert facts is not None, f"it ended early: {self.lines[-3:]}, {self.error()}"
        assert isinstance(facts, dict)
        return facts

    def error(self) -> str:
        """What it wrote to stderr, once it has ended."""
        return self.process.communicate(timeout=PATIENCE_SECONDS)[1]

    def family(self) -> list[psutil.Process]:
        """It and all it started."""
        with suppress(psutil.NoSuchProcess):
            mother = psutil.Process(self.process.pid)
            return [mother, *mother.children(recursive=True)]
        return []

    def victims(self, kind: Victim) -> list[psutil.Process]:
        """Of whom one is killed for a kind of accident; a node goes with all its processes but the driver."""
        if kind == "driver":
            return self.family()[:1]
        found = []
        for process in self.family()[1:]:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                named = " ".join(process.cmdline())
                if "RayTrainWorker" in named or (kind == "node" and process.name() == "raylet"):
                    found.append(process)
        return found


@contextmanager
def started(job: TinyJob, folder: Path) -> Iterator[Start]:
    """A start of the job; nothing of it is left afterwards."""
    command = [sys.executable, "-m", "tests.fakes.tiny_training", str(write_job(job, folder / "job.json"))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | QUIET,
    )
    start = Start(process)
    family: list[psutil.Process] = []
    try:
        yield start
    finally:
        family = start.family()
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        process.communicate()
        _gone(family, job.temp)


def finish(job: TinyJob, folder: Path, victims: Sequence[Victim], draw: random.Random) -> dict[str, Any]:
    """Start the job as often as it takes to end it, though it is killed at a random moment for each victim.

    Returns the facts of its checkpoint.
    """
    left = list(victims)
    for _ in range(len(victims) + 1):
        with started(job, folder) as start:
            while left and start.next_line("step") is not None:
                time.sleep(draw.uniform(0.0, 0.8))
                kind = left.pop(0)
                if not (found := start.victims(kind)):
                    break
                family = start.family()
                for victim in found if kind == "node" else [draw.choice(found)]:
                    victim.send_signal(signal.SIGKILL)
                if kind != "driver":
                    # Its driver has to end by itself, with the line that says how to go on.
                    error = start.error()
                    assert start.process.returncode != 0
                    assert "run again" in error, f"it does not say how to go on: {error[-500:]}"
                _gone(family, job.temp)
                break
            else:
                if start.process.poll() is None or not left:
                    return start.facts()
    raise AssertionError("it never came to its end")


def _gone(family: Sequence[psutil.Process], temp: str) -> None:
    """End what a killed driver has left, so that the next start has the machine for itself."""
    for one in family:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(family, timeout=20)
