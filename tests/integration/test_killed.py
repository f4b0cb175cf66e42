"""What is left when a run is killed or interrupted: no process, every finished stage, and the same result later."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.outcome import Outcome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETS = ("data.source.scienceqa_train=60", "data.source.scienceqa_test=20", "data.source.bench_images=2")
LONG_BASE = ("base.vision.steps=100000", "base.language.steps=100000", "base.language.documents=300")


@pytest.fixture
def root() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="killed-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def start(project: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command; whatever is left of it is ended after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(root: Path, stage: str, *overrides: str) -> subprocess.Popen[str]:
        options = [part for override in (*SETS, *overrides) for part in ("--set", override)]
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", stage, "shapes", "--json", *options], cwd=project, text=True,
            env={**os.environ, "LLAVAFLOW_ROOT": str(root), "PREFECT_HOME": str(root / "prefect")},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def outcome_of(process: subprocess.Popen[str]) -> Outcome:
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    return Outcome.model_validate_json(out)


def until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run. One that has ended and waits for its parent's notice, which may be never, does not."""
    return [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def events(root: Path) -> list[dict[str, object]]:
    lines = [line for path in root.glob("shapes-*/events.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def test_a_killed_run_keeps_what_was_finished_and_comes_to_the_same(
    root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    small = ("data.source.train_scenes=40", "generate.samples=3000")
    killed = start(root / "killed", "shard", *small)
    until(lambda: any(event.get("name") == "ingest" for event in events(root / "killed")))
    family = psutil.Process(killed.pid).children(recursive=True)
    killed.kill()
    killed.wait()
    until(lambda: not alive(family), 30)

    resumed = outcome_of(start(root / "killed", "shard", *small))
    whole = outcome_of(start(root / "whole", "shard", *small))
    assert resumed.stages[0].cached
    assert [stage.digest for stage in resumed.stages] == [stage.digest for stage in whole.stages]


def test_an_interrupt_ends_everything_and_says_how_to_go_on(
    root: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    process = start(root, "base", *LONG_BASE)
    until(lambda: bool(list(root.glob("scratch/base-*/*.jsonl"))))
    family = psutil.Process(process.pid).children(recursive=True)
    assert family
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    assert error.splitlines()[-1] == "interrupted; run the same command again: finished stages are kept"
    assert "Traceback" not in error
    assert alive(family) == []
    assert Outcome.model_validate_json(next(root.glob("shapes-*/result.json")).read_text()).status == "interrupted"
