"""Generation that is killed at random moments comes to the same bytes and pays for no answer that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import BatchConfig
from tasks.chat.traffic import AHEAD
from tests.fakes.batch_api import Ending, FakeBatchApi
from tests.fakes.killed_generation import (
    FaultyTeacher,
    Job,
    faults_of,
    finish,
    kill_again_and_again,
    rows,
    teacher,
    write_images,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS, SAMPLES = 8, 250


@pytest.fixture
def undisturbed(tmp_path: Path) -> Job:
    with FaultyTeacher(seed=None, latency=0.0) as server:
        job = Job(tmp_path / "whole", server.base_url, SAMPLES)
        write_images(job.root / "images")
        finish(job)
    return job


def test_killed_at_random_moments_it_comes_to_the_same_and_pays_for_no_key_twice(
    tmp_path: Path, undisturbed: Job
) -> None:
    with FaultyTeacher(seed=1, latency=0.03) as server:
        job = Job(tmp_path / "killed", server.base_url, SAMPLES)
        write_images(job.root / "images")
        story = kill_again_and_again(job, KILLS, longest=0.8, seed=1)
        assert faults_of(job, story, server.whole) == []
    assert job.files() == undisturbed.files()
    assert min(len(content) for content in job.files().values()) > 0
    # Claimed are those on the wire, and one for so many that waits for a place there.
    assert len(story.in_flight) <= KILLS * (job.concurrency + job.concurrency // AHEAD)


def test_batches_killed_at_random_moments_come_to_the_same_and_every_key_is_paid_for_once(
    tmp_path: Path, undisturbed: Job
) -> None:
    endings = [Ending(), Ending("expired", answered=20), Ending("cancelled", answered=5)] * 3
    with FakeBatchApi(teacher, endings=endings, steps=4) as server:
        batch = BatchConfig(max_requests=60, max_open=2, poll_seconds=0.1)
        job = Job(tmp_path / "killed", server.base_url, SAMPLES, batch=batch)
        write_images(job.root / "images")
        kill_again_and_again(job, KILLS, longest=0.8, seed=2)
        assert set(server.answered_keys.values()) == {1}
        assert {key for key, state, _, _ in rows(job) if state == "answered"} == set(server.answered_keys)
    assert job.files() == undisturbed.files()
