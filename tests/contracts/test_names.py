"""Where things lie and what they are called."""

from __future__ import annotations

import re
from pathlib import Path

PACKAGES = ("flows", "tasks", "model", "configs")
SAYING_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "base_utils"}
TAKEN_BY_LIBRARIES = {"ray", "mlflow", "prefect", "torch", "deepspeed", "transformers", "evaluate", "tasks", "model"}
FOLDERS = {"flows", "tasks", "model", "configs", "infra", "tests", "docs"}
FILES = {
    "README.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "pyproject.toml", "requirements.in", "requirements-dev.in",
    "requirements.lock", "prefect.yaml",
}  # fmt: skip
NOT_OURS = {"runs", "build"}


def _modules(project: Path) -> list[Path]:
    return [path for package in PACKAGES for path in (project / package).rglob("*.py")]


def test_no_module_is_named_for_nothing(project: Path) -> None:
    assert [str(path) for path in _modules(project) if path.stem in SAYING_NOTHING] == []


def test_no_flow_file_takes_the_name_of_a_library(project: Path) -> None:
    # Prefect puts the folder of a path entrypoint on sys.path; such a file would then shadow the package.
    assert [path.name for path in (project / "flows").glob("*.py") if path.stem in TAKEN_BY_LIBRARIES] == []


def test_the_root_holds_only_what_the_design_names(project: Path) -> None:
    found = {path.name for path in project.iterdir() if not path.name.startswith(".") and path.suffix != ".egg-info"}
    assert found - NOT_OURS - FOLDERS - FILES == set()


def test_every_package_says_what_it_is_for(project: Path) -> None:
    folders = {path.parent for path in _modules(project)}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


def test_only_task_files_and_flows_name_the_orchestrator(project: Path) -> None:
    elsewhere = [path for path in _modules(project) if path.name != "task.py" and project / "flows" not in path.parents]
    naming = re.compile(r"^\s*(from|import) prefect\b", re.MULTILINE)
    assert [str(path) for path in elsewhere if naming.search(path.read_text(encoding="utf-8"))] == []
