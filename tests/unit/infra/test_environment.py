"""Set-up: makes the environment when it has to, and only then."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path("infra") / "setup" / "environment.py"
Stamp = dict[str, str | int]


@pytest.fixture(scope="module")
def environment(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", project / SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(project: Path, tmp_path: Path) -> Path:
    """A copy of what set-up reads."""
    (tmp_path / SCRIPT).parent.mkdir(parents=True)
    for name in ("requirements.lock", "pyproject.toml", SCRIPT):
        shutil.copy(project / name, tmp_path / name)
    return tmp_path


def made(tree: Path, environment: ModuleType) -> tuple[Path, Stamp]:
    """An environment that looks made, and what is wanted of it."""
    wanted: Stamp = environment.wanted_stamp(tree)
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tree / ".venv" / environment.STAMP).write_text(json.dumps(wanted))
    return tree / ".venv", wanted


def test_an_environment_that_is_as_wanted_is_left_alone(tree: Path, environment: ModuleType) -> None:
    venv, wanted = made(tree, environment)
    assert environment.reason_to_make(venv, wanted) is None
    before = sorted(path.stat().st_mtime_ns for path in venv.rglob("*"))
    done = subprocess.run([sys.executable, tree / SCRIPT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert sorted(path.stat().st_mtime_ns for path in venv.rglob("*")) == before


def test_a_missing_one_is_made(tree: Path, environment: ModuleType) -> None:
    assert environment.reason_to_make(tree / ".venv", environment.wanted_stamp(tree)) == "there is none"


def test_one_whose_set_up_was_interrupted_is_made_again(tree: Path, environment: ModuleType) -> None:
    venv, wanted = made(tree, environment)
    (venv / environment.STAMP).unlink()
    assert "half made" in environment.reason_to_make(venv, wanted)


def test_a_stamp_that_was_cut_off_counts_as_none(tree: Path, environment: ModuleType) -> None:
    venv, wanted = made(tree, environment)
    (venv / environment.STAMP).write_text('{"lock"')
    assert "half made" in environment.reason_to_make(venv, wanted)


def test_one_whose_python_was_removed_is_made_again(tree: Path, environment: ModuleType) -> None:
    venv, wanted = made(tree, environment)
    (venv / "bin" / "python").unlink()
    (venv / "bin" / "python").symlink_to(tree / "gone")
    assert environment.reason_to_make(venv, wanted) == "its Python is gone"


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("requirements.lock", "ray==", "ray==1", "lock"),
        ("pyproject.toml", 'llavaflow = "flows.cli:main"', 'llavaflow = "flows.cli:other"', "pyproject"),
        ("pyproject.toml", 'include = ["flows*"', 'include = ["more*", "flows*"', "pyproject"),
    ],
)
def test_a_change_of_what_it_is_made_from_makes_it_again(
    file: str, old: str, new: str, named: str, tree: Path, environment: ModuleType
) -> None:
    venv, _ = made(tree, environment)
    text = (tree / file).read_text(encoding="utf-8")
    assert old in text
    (tree / file).write_text(text.replace(old, new), encoding="utf-8")
    reason = environment.reason_to_make(venv, environment.wanted_stamp(tree))
    assert reason == f"changed since it was made: {named}"


def test_a_change_of_lint_or_test_options_does_not(tree: Path, environment: ModuleType) -> None:
    venv, _ = made(tree, environment)
    path = tree / "pyproject.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("line-length = 120", "line-length = 99"), encoding="utf-8")
    assert environment.reason_to_make(venv, environment.wanted_stamp(tree)) is None


def test_a_folder_that_is_no_environment_is_not_removed(tree: Path) -> None:
    (tree / ".venv").mkdir()
    (tree / ".venv" / "thesis.txt").write_text("years of work")
    done = subprocess.run([sys.executable, tree / SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is no virtual environment" in done.stderr
    assert (tree / ".venv" / "thesis.txt").read_text() == "years of work"


def test_pins_are_read_without_their_markers_and_by_their_whole_name(environment: ModuleType) -> None:
    lock = "torchmetrics==1.0\ntorch==2.13.0 ; sys_platform == 'linux'\n    # via ray\nuv==0.1\n"
    assert environment.pinned(lock, "torch") == "torch==2.13.0"
    assert environment.pinned(lock, "uv") == "uv==0.1"
    with pytest.raises(environment.SetupFailed, match="make lock"):
        environment.pinned(lock, "ray")
