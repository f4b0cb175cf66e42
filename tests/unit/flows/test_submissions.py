"""Jobs whose flow run is over are stopped; all others are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.settings import Settings
from flows.submissions import reap, submission_of
from tasks.errors import ConfigError
from tasks.train.submission import FLOW_RUN, RUN, Job
from tests.fakes.ray_jobs import FakeJobs

STATES = {"on": "RUNNING", "slept": "PAUSED", "done": "COMPLETED", "off": "CANCELLED", "lost": "CRASHED"}


def jobs() -> FakeJobs:
    fake = FakeJobs(lambda jobs, id: "SUCCEEDED")
    for flow_run in (*STATES, "gone"):
        fake.jobs[flow_run] = Job(flow_run, "RUNNING", {RUN: "run", FLOW_RUN: flow_run})
    fake.jobs["other"] = Job("other", "RUNNING", {"team": "theirs"})
    fake.jobs["by hand"] = Job("by hand", "RUNNING", {RUN: "run", FLOW_RUN: ""})
    fake.jobs["ended"] = Job("ended", "FAILED", {RUN: "run", FLOW_RUN: "off"})
    return fake


def test_only_jobs_of_flow_runs_that_are_over_are_stopped() -> None:
    fake = jobs()
    found = reap(fake, STATES.get)
    assert fake.stopped == ["done", "off", "lost", "gone"]
    assert [one.why for one in found][1:] == [
        "flow run off is cancelled", "flow run lost is crashed", "flow run gone is gone",
    ]


def test_a_dry_run_stops_none() -> None:
    fake = jobs()
    assert len(reap(fake, STATES.get, dry=True)) == 4
    assert fake.stopped == []


def test_training_is_driven_from_here_unless_a_cluster_takes_jobs(tmp_path: Path) -> None:
    assert submission_of(Settings(root=tmp_path), "run") is None


def test_both_sides_meet_in_the_storage_or_on_one_disk(tmp_path: Path) -> None:
    def place(**named: str) -> str:
        found = submission_of(Settings(root=tmp_path, ray_jobs="http://host:8265", **named), "run")  # type: ignore[arg-type]
        assert found is not None
        return found.submitter.place.uri

    assert place() == f"{tmp_path}/jobs"
    assert place(storage="s3://bucket/team") == "s3://bucket/team/jobs"
    with pytest.raises(ConfigError, match="set LLAVAFLOW_STORAGE"):
        place(store="s3://bucket/store")
