from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_experiment
from model.stages import Stage
from tasks.errors import OutOfMemory, TrainingError
from tasks.progress import Progress, Silent
from tasks.train import run
from tasks.train.job import Job
from tasks.train.place import Place
from tasks.train.rows import Choice, choices_of, first_choice, halve


@pytest.fixture
def job(tmp_path: Path) -> Job:
    made = Job(
        Stage.ALIGN, load_experiment("shapes").train, 0, tmp_path, {"": tmp_path}, tmp_path / "survey.npz", 10, {},
        Place(str(tmp_path)),
    )
    first_choice(made.rows, Choice(row_tokens=800, why="given"), given=True)
    return made


def fit_on(longest: int, told: type[TrainingError], tried: list[int]) -> object:
    """A fit whose workers have memory for rows of so many tokens, and tell an error of that type."""

    def fit(job: Job, work: Path, progress: Progress, watch: object) -> Path:
        tried.append(choices_of(job.rows)[-1].row_tokens)
        if tried[-1] > longest:
            halve(job.rows, 1, [[tried[-1] // 2, tried[-1] // 2]])
            raise told("a worker failed")
        return work

    return fit


# The error that is told may be that of a worker who waited for the one without memory.
@pytest.mark.parametrize("told", [OutOfMemory, TrainingError])
def test_a_stage_is_fitted_again_as_long_as_rows_get_shorter(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: type[TrainingError]
) -> None:
    tried: list[int] = []
    monkeypatch.setattr(run, "_fit", fit_on(150, told, tried))
    assert run._fit_rows(job, tmp_path, Silent(), lambda line: None) == tmp_path
    assert tried == [800, 400, 200, 100]


def test_another_failure_is_not_tried_again(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def fit(job: Job, work: Path, progress: Progress, watch: object) -> Path:
        tried.append(1)
        raise TrainingError("training failed")

    monkeypatch.setattr(run, "_fit", fit)
    with pytest.raises(TrainingError, match="training failed"):
        run._fit_rows(job, tmp_path, Silent(), lambda line: None)
    assert tried == [1]
