from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAVAFLOW_ROOT", str(tmp_path / "runs"))
    return tmp_path / "runs"


def called(project: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=project, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["run", "shaps"], "did you mean 'shapes'?"),
        (["plan", "--set", "train.stages.instruct.lrr=1"], "did you mean 'train.stages.instruct.lr'?"),
        (["shard", "--set", "train.workers=many"], "train.workers"),
        (["plan", "--set", "data.source={kind: coco, root: nowhere}"], "there is no data folder"),
        (["run", "--set", "no equals sign"], "key=value"),
    ],
)
def test_what_cannot_be_run_ends_at_once_with_its_cause_on_the_last_line(
    arguments: list[str], cause: str, project: Path, root: Path
) -> None:
    done = called(project, *arguments)
    assert done.returncode == 1
    assert cause in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not root.exists()


def test_a_wrong_option_is_an_error_too(project: Path) -> None:
    assert called(project, "run", "--nonsense").returncode == 2
    assert called(project, "train", "--stage", "task").returncode == 2


def test_help_comes_without_anything_heavy(project: Path) -> None:
    code = (
        "import sys; import flows.cli; "
        "print(*sorted({'torch', 'ray', 'mlflow', 'prefect', 'sqlalchemy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_plan_as_json_is_one_object(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["llavaflow", "plan", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    told = json.loads(capsys.readouterr().out)
    assert [stage["name"] for stage in told["stages"]][:3] == ["ingest", "generate", "shard"]


def test_a_programming_mistake_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("flows.plan.make_plan", broken)
    monkeypatch.setattr(sys, "argv", ["llavaflow", "plan"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: ZeroDivisionError: by zero"
