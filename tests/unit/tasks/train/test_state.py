from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs.load import load_experiment
from model.stages import Stage
from tasks.errors import TrainingError
from tasks.train.job import Job
from tasks.train.place import Place
from tasks.train.state import State, check, identity_of
from tasks.train.survey import Survey


def job(folder: Path, *overrides: str, samples: int = 5) -> Job:
    survey = folder / f"survey-{samples}.npz"
    Survey(np.arange(samples), np.full(samples, 9), np.full(samples, 3)).save(survey)
    train = load_experiment("shapes", overrides).train
    return Job(Stage.ALIGN, train, 0, folder, {"": folder}, survey, 10, {}, Place(str(folder)))


def test_a_checkpoint_of_the_same_job_is_accepted_whatever_shapes_no_result(tmp_path: Path) -> None:
    same = ["train.workers=1", "train.max_failures=7", "train.stages.align.checkpoint_every=3",
            "train.stages.instruct.lr=0.5"]  # fmt: skip
    check(identity_of(job(tmp_path)), identity_of(job(tmp_path, *same)))


@pytest.mark.parametrize(
    "other", ["train.stages.align.lr=0.5", "train.precision=fp32", "train.template=plain", "train.deepspeed=zero3"]
)
def test_a_checkpoint_of_another_config_is_refused_with_the_remedy(tmp_path: Path, other: str) -> None:
    with pytest.raises(TrainingError, match=r"made otherwise \(settings \w+ -> \w+\); go back to that, or remove"):
        check(identity_of(job(tmp_path)), identity_of(job(tmp_path, other)))


def test_a_checkpoint_of_other_samples_or_steps_is_refused(tmp_path: Path) -> None:
    mine = job(tmp_path)
    with pytest.raises(TrainingError, match="samples"):
        check(identity_of(mine), identity_of(job(tmp_path, samples=6)))
    with pytest.raises(TrainingError, match="settings"):
        check(identity_of(mine), identity_of(replace(mine, steps=11)))


def test_a_checkpoint_of_another_library_version_is_refused_by_name(tmp_path: Path) -> None:
    wanted = identity_of(job(tmp_path))
    with pytest.raises(TrainingError, match=r"otherwise \(torch 0\.1 -> "):
        check(wanted | {"torch": "0.1"}, wanted)


def test_a_state_comes_back_as_it_was_saved() -> None:
    state = State(step=3, identity={"a": "b"}, segments=[(0, 2)], history=[{"loss": 0.1}], timings=[{"seconds": 1.0}])
    assert State.parse(state.model_dump_json().encode()) == state


def test_whole_numbers_of_the_history_stay_whole() -> None:
    line: dict[str, int | float] = {"step": 3, "loss": 0.1, "lr": 1.0}
    state = State(step=3, identity={}, history=[line])
    assert json.dumps(State.parse(state.model_dump_json().encode()).history) == json.dumps([line])


@pytest.mark.parametrize("text", [b"", b"{", b"{}"])
def test_a_state_that_cannot_be_read_is_told_with_the_remedy(text: bytes) -> None:
    with pytest.raises(TrainingError, match="remove the stage's folder under work/"):
        State.parse(text)
