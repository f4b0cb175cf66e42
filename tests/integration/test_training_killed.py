"""Training killed at random moments (a worker, the driver, the node) ends in the undisturbed run's bits.

The short variant kills one of each; `make test-long` kills at twenty moments.
"""

from __future__ import annotations

import random
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.killed_training import Victim, finish, started
from tests.fakes.tiny_training import TinyJob, parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

KINDS: tuple[Victim, ...] = ("worker", "driver", "node")
WEIGHTS = "model/model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyJob]:
    """The undisturbed run, done."""
    folder = tmp_path_factory.mktemp("tiny")
    temp = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    base, shards = parts(folder)
    job = TinyJob(str(base), str(shards), str(folder / "whole"), str(folder / "whole-work"), str(temp))
    with started(job, folder) as start:
        start.facts()
    yield job
    shutil.rmtree(temp, ignore_errors=True)


def another(whole: TinyJob, folder: Path) -> TinyJob:
    return replace(whole, out=str(folder / "out"), work=str(folder / "work"))


def same(whole: TinyJob, job: TinyJob) -> bool:
    return all(
        (Path(whole.out) / name).read_bytes() == (Path(job.out) / name).read_bytes()
        for name in (WEIGHTS, "metrics.jsonl")
    )


def test_killed_once_by_each_kind_it_comes_to_the_same_bits(whole: TinyJob, tmp_path: Path) -> None:
    job = another(whole, tmp_path)
    facts = finish(job, tmp_path, KINDS, random.Random(0))
    assert len(facts["starts"]) > 1, "nothing was gone on from"
    assert same(whole, job)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_at_twenty_random_moments_it_comes_to_the_same_bits(whole: TinyJob, tmp_path: Path) -> None:
    draw = random.Random(1)
    job = another(whole, tmp_path)
    finish(job, tmp_path, [draw.choice(KINDS) for _ in range(20)], draw)
    assert same(whole, job)


def test_a_worker_told_to_leave_keeps_its_step_and_the_next_run_goes_on_from_it(
    whole: TinyJob, tmp_path: Path
) -> None:
    # No checkpoint falls due by itself.
    job = replace(another(whole, tmp_path), every=100_000)
    with started(job, tmp_path) as start:
        assert start.next_line("step") is not None
        start.victims("worker")[0].send_signal(signal.SIGTERM)
        error = start.error()
    assert "was told to stop, and kept where it was after step " in error
    step = int(error.split("after step ")[1].split()[0])
    with started(job, tmp_path) as start:
        facts = start.facts()
    assert [one["step"] for one in facts["starts"]] == [0, step]
    assert same(whole, job)


def test_an_interrupted_run_keeps_its_step_before_it_ends(whole: TinyJob, tmp_path: Path) -> None:
    job = replace(another(whole, tmp_path), every=100_000)
    with started(job, tmp_path) as start:
        assert start.next_line("step") is not None
        start.process.send_signal(signal.SIGTERM)
        start.process.communicate(timeout=200)
        assert start.process.returncode == 128 + signal.SIGTERM
    assert list(Path(job.work, "checkpoints").glob("step-*/part-00001.json"))
