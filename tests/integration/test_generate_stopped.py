"""`llavaflow generate`, the command, killed and interrupted while it asks an endpoint."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.fakes.batch_api import FakeBatchApi
from tests.fakes.killed_generation import FaultyTeacher, teacher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETS = (
    "data.source.train_scenes=40", "data.source.scienceqa_train=10", "data.source.scienceqa_test=10",
    "data.source.bench_images=2", "generate.samples=150", "generate.max_rejected_share=1.0",
)
KILLS = 3
BY_ENDPOINT = {"manifest.json", "origins.jsonl"}


def start(project: Path, root: Path, base_url: str, *overrides: str) -> subprocess.Popen[str]:
    teacher = f"generate.teacher={{kind: openai, model: fake, base_url: '{base_url}', max_retries: 40, concurrency: 4}}"
    options = [part for override in (*SETS, teacher, *overrides) for part in ("--set", override)]
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "generate", "shapes", "--json", *options], cwd=project, text=True,
        env={**os.environ, "LLAVAFLOW_ROOT": str(root), "PREFECT_HOME": str(root / "prefect")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )


def made_by(process: subprocess.Popen[str], root: Path) -> dict[str, bytes]:
    """The conversations that a command made, and what it rejected. Ledger keys tell endpoints apart: not origins."""
    _, error = process.communicate(timeout=300)
    assert process.returncode == 0, error[-3000:]
    (folder,) = (root / "cache" / "generate").iterdir()
    return {path.name: path.read_bytes() for path in folder.glob("*.json*") if path.name not in BY_ENDPOINT}


def until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while not true():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill the command alone; what it started notices, and ends by itself."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    psutil.wait_procs(family, timeout=30)


def test_the_command_killed_while_it_asks_comes_to_the_same_conversations(project: Path, tmp_path: Path) -> None:
    chance = random.Random(5)
    with FaultyTeacher(seed=None, latency=0.0) as server:
        whole = made_by(start(project, tmp_path / "whole", server.base_url), tmp_path / "whole")
    with FaultyTeacher(seed=5, latency=0.05) as server:
        for _ in range(KILLS):
            process, goal = start(project, tmp_path / "killed", server.base_url), server.asked + chance.randint(1, 50)
            until(lambda goal=goal: server.asked >= goal, process)  # type: ignore[misc]
            kill(process)
        assert made_by(start(project, tmp_path / "killed", server.base_url), tmp_path / "killed") == whole
        assert {"conversations.jsonl", "rejected.jsonl"} <= whole.keys()
        answers = server.whole
    assert sum(times - 1 for times in answers.values()) <= KILLS * 4


def test_an_interrupt_tells_where_the_batches_stand_and_the_same_command_comes_back(
    project: Path, tmp_path: Path
) -> None:
    batch = "generate.teacher.batch={poll_seconds: 0.5}"
    with FakeBatchApi(teacher, steps=10**6) as server:
        process = start(project, tmp_path, server.base_url, batch)
        until(lambda: any(batch.looks >= 2 for batch in server.batches.values()), process)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, error = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGINT
        assert "batches: 1 under way" in error.splitlines()[-2], error[-2000:]
        assert "batch_0" in error.splitlines()[-2]
        server.steps = 1
        made_by(start(project, tmp_path, server.base_url, batch), tmp_path)
        assert server.sizes[0] == 150
        assert set(server.answered_keys.values()) == {1}
