"""Ranks killed (-9) at random moments, checkpoints half written among them: the undisturbed run's bits, or rounding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fakes.tiny_training import TinyJob, parts, write_job

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WEIGHTS = "work/checkpoints/final/model/model.safetensors"


class Ranks:
    """Runs of the same tiny stage, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base, self.shards = parts(folder)

    def run(self, name: str, workers: str, *, steps: int = 60, seed: int = 0) -> dict[str, Any]:
        folder = self.folder / name
        folder.mkdir()
        job = TinyJob(
            str(self.base), str(self.shards), str(folder / "out"), str(folder / "work"), "", steps=steps, every=2
        )
        command = [sys.executable, "-m", "tests.fakes.killed_ranks", str(write_job(job, folder / "job.json"))]
        done = subprocess.run(
            [*command, workers, str(seed)], capture_output=True, text=True, timeout=800,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(told, dict)
        return told

    def weights(self, name: str) -> bytes:
        return (self.folder / name / WEIGHTS).read_bytes()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return Ranks(tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="module")
def whole(ranks: Ranks) -> dict[str, Any]:
    return ranks.run("whole", "2")


def test_killed_at_a_few_random_moments_it_comes_to_the_same_bits(ranks: Ranks, whole: dict[str, Any]) -> None:
    told = ranks.run("killed", "2,2,2,2")
    assert told["kills"] == 3
    assert len(told["starts"]) > 1, "nothing was gone on from"
    assert told["losses"] == whole["losses"]
    assert ranks.weights("killed") == ranks.weights("whole")


def test_with_other_numbers_of_workers_it_takes_the_same_steps_within_rounding(
    ranks: Ranks, whole: dict[str, Any]
) -> None:
    told = ranks.run("changed", "2,1,2")
    assert [workers for _, workers in told["starts"]] == [2, 1, 2]
    np.testing.assert_allclose(told["losses"], whole["losses"], atol=1e-4)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_twenty_random_moments_it_comes_to_the_same_bits(ranks: Ranks) -> None:
    undisturbed = ranks.run("long-whole", "2", steps=600)
    told = ranks.run("long-killed", ",".join(["2"] * 21), steps=600, seed=1)
    assert told["kills"] == 20
    assert told["losses"] == undisturbed["losses"]
    assert ranks.weights("long-killed") == ranks.weights("long-whole")
