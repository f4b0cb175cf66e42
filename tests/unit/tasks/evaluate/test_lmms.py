"""lmms-eval is asked for a checkpoint's figures where it is installed, and its absence is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.errors import EnvironmentProblem, ScoringError
from tasks.evaluate.lmms import evaluate_tasks

FAKE = '''
def simple_evaluate(**asked):
    if asked["tasks"] == ["nothing"]:
        return None
    return {"results": {task: {"asked": asked, "odd": object} for task in asked["tasks"]}}
'''


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lmms_eval").mkdir()
    (tmp_path / "lmms_eval" / "__init__.py").write_text("")
    (tmp_path / "lmms_eval" / "evaluator.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("lmms_eval", "lmms_eval.evaluator"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("installed")
def test_its_tasks_run_on_the_folder(checkpoint: Path) -> None:
    found = evaluate_tasks(checkpoint, ["pope", "mme"], limit=3)
    assert list(found) == ["pope", "mme"]
    part = found["pope"]
    assert isinstance(part, dict)
    asked = part["asked"]
    assert isinstance(asked, dict)
    assert (asked["model"], asked["limit"]) == ("llava_hf", 3)
    assert f"pretrained={checkpoint}" in str(asked["model_args"])
    with pytest.raises(ScoringError, match="gave no figures for nothing"):
        evaluate_tasks(checkpoint, ["nothing"])


def test_its_absence_and_a_folder_that_is_no_model_are_one_line(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="no Hugging Face folder"):
        evaluate_tasks(tmp_path, ["pope"])
    if "lmms_eval" not in sys.modules:
        with pytest.raises(EnvironmentProblem, match="lmms-eval is not installed"):
            evaluate_tasks(checkpoint, ["pope"])
