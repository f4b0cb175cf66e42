"""A job that is submitted: one a key whatever happens to who watches it, its result and its errors its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import DataError, TrainingError
from tasks.progress import Silent
from tasks.stages import Built
from tasks.train.submission import (
    BUILT,
    FAILURE,
    FLOW_RUN,
    MARK,
    ORDER,
    RESULT,
    RUN,
    STOPPING_SECONDS,
    Job,
    JobOrder,
    Place,
    Submitter,
)
from tasks.train.submitted import Spoken, failed
from tests.fakes.ray_jobs import FakeJobs

NAME = "align-0123456789abcdef"


def order(name: str = NAME) -> JobOrder:
    return JobOrder(
        stage="align", name=name, start={}, start_kind="BaseModels", shards={}, experiment={}, store="s3://b/p",
        options={},
    )


def place_of(jobs: FakeJobs, id: str) -> Place:
    told: Any = jobs.told(id)
    return Place(told["place"], told["options"])


def succeeds(jobs: FakeJobs, id: str) -> str:
    place = place_of(jobs, id)
    assert json.loads(place.read(ORDER) or "")["name"] == NAME
    Path(place.uri, RESULT, "model").mkdir(parents=True)
    Path(place.uri, RESULT, "model", "weights").write_bytes(b"trained")
    place.write(BUILT, json.dumps({"counts": {"steps": 3}, "facts": {"loss_last": 0.5}}))
    return "SUCCEEDED"


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.updates: list[tuple[int, int, dict[str, float | str]]] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def update(self, done: int, total: int, **shown: float | str) -> None:
        self.updates.append((done, total, shown))


def submitter(jobs: FakeJobs, folder: Path, sleep: Callable[[float], None] = lambda seconds: None) -> Submitter:
    place, offline = Place(str(folder / "jobs")), {"HF_HUB_OFFLINE": "1"}
    return Submitter(jobs, place, "run-1", "flow-1", "python3", offline, sleep=sleep)


def build(jobs: FakeJobs, folder: Path, progress: Silent | None = None, **named: Any) -> Built:
    (folder / "out").mkdir(exist_ok=True)
    watch: list[dict[str, float | str]] = named.pop("figures", [])
    return submitter(jobs, folder, **named).build(folder / "out", order(), progress or Silent(), watch.append)


def test_the_folder_that_the_job_made_is_ours(tmp_path: Path) -> None:
    jobs = FakeJobs(succeeds)
    built = build(jobs, tmp_path)
    assert (built.counts, built.facts) == ({"steps": 3}, {"loss_last": 0.5})
    assert (tmp_path / "out/model/weights").read_bytes() == b"trained"
    (job,) = jobs.all()
    assert job.metadata == {RUN: "run-1", FLOW_RUN: "flow-1"}
    assert jobs.commands[job.id].startswith("python3 -m tasks.train.submitted '{")
    assert jobs.environments[job.id] == {"HF_HUB_OFFLINE": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOPPING_SECONDS)}


def test_what_the_job_says_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoken = Spoken()
    spoken.note("going on from step 2")
    spoken.figures({"step": 3.0, "loss": 0.5})
    spoken.update(3, 9, loss=0.5)
    said = ["noise of a library", *capsys.readouterr().out.splitlines()]
    jobs = FakeJobs(succeeds, said={f"llavaflow-{NAME}-1": said})
    notes, figures = Notes(), list[dict[str, float | str]]()
    build(jobs, tmp_path, notes, figures=figures)
    assert "going on from step 2" in notes.notes and not any("noise" in note for note in notes.notes)
    assert figures == [{"step": 3.0, "loss": 0.5}]
    assert (3, 9, {"loss": 0.5}) in notes.updates


def test_a_job_that_goes_on_is_watched_and_not_doubled(tmp_path: Path) -> None:
    jobs, go = FakeJobs(succeeds), threading.Event()

    def work(jobs: FakeJobs, id: str) -> str:
        go.wait(10)
        return succeeds(jobs, id)

    jobs.work = work
    first = threading.Thread(target=build, args=(jobs, tmp_path))
    first.start()
    while not jobs.all():
        pass
    go.set()
    notes = Notes()
    assert build(jobs, tmp_path, notes).counts == {"steps": 3}
    first.join()
    assert len(jobs.all()) == 1


def test_a_result_that_was_not_published_is_taken_and_not_made_again(tmp_path: Path) -> None:
    jobs = FakeJobs(succeeds)
    build(jobs, tmp_path)
    assert build(jobs, tmp_path).counts == {"steps": 3}
    assert len(jobs.all()) == 1
    submitter(jobs, tmp_path).done(NAME)
    assert not [path for path in (tmp_path / "jobs").rglob("*") if path.is_file()]


def test_the_job_s_own_error_is_raised_and_the_next_has_an_id_of_its_own(tmp_path: Path) -> None:
    def fails(jobs: FakeJobs, id: str) -> str:
        failed(place_of(jobs, id), DataError("too few samples; add some"))
        return "FAILED"

    jobs = FakeJobs(fails)
    with pytest.raises(DataError, match="too few samples; add some"):
        build(jobs, tmp_path)
    jobs.work = succeeds
    build(jobs, tmp_path)
    assert [job.id for job in jobs.all()] == [f"llavaflow-{NAME}-1", f"llavaflow-{NAME}-2"]


def test_a_job_that_dies_without_a_word_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    jobs = FakeJobs(lambda jobs, id: "FAILED")
    with pytest.raises(TrainingError, match=rf"llavaflow-{NAME}-1 ended as FAILED.*run again to go on"):
        build(jobs, tmp_path)


def test_who_is_interrupted_tells_the_job_to_stop_and_waits_until_it_has(tmp_path: Path) -> None:
    def stops(jobs: FakeJobs, id: str) -> str:
        jobs.stopping.wait(10)
        return "STOPPED"

    jobs, calls = FakeJobs(stops), list[float]()

    def sleep(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(jobs, tmp_path, sleep=sleep)
    assert jobs.stopped == [f"llavaflow-{NAME}-1"]
    assert jobs.all()[0].ended


def test_lines_are_only_those_with_the_mark(tmp_path: Path) -> None:
    jobs = FakeJobs(succeeds, said={f"llavaflow-{NAME}-1": ["{}", MARK.strip(), f"x {MARK}{{}}"]})
    assert build(jobs, tmp_path).counts == {"steps": 3}


def test_an_old_failure_is_not_taken_for_that_of_the_next_job(tmp_path: Path) -> None:
    Place(str(tmp_path / "jobs" / NAME)).write(FAILURE, json.dumps({"kind": "DataError", "message": "old"}))
    assert build(FakeJobs(succeeds), tmp_path).counts == {"steps": 3}


def test_a_job_has_ended_or_not() -> None:
    assert [Job("a", status, {}).ended for status in ("PENDING", "RUNNING", "STOPPED", "FAILED", "SUCCEEDED")] == [
        False, False, True, True, True,
    ]
