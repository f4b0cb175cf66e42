"""requirements.lock is exact, and covers what requirements.in and requirements-dev.in ask for."""

from __future__ import annotations

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

USED_FOR_REAL = {"prefect", "ray", "torch", "transformers", "deepspeed", "mlflow", "s3fs", "webdataset"}
OWN = {"flows", "tasks", "model", "configs", "infra", "tests"}


def imported(path: Path) -> set[str]:
    """Root packages that a source file imports, anywhere in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in names}


def requirements(path: Path) -> list[Requirement]:
    lines = (line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def locked(project: Path) -> dict[str, Version]:
    found = requirements(project / "requirements.lock")
    loose = [one.name for one in found if len(one.specifier) != 1 or not str(one.specifier).startswith("==")]
    assert loose == []
    return {canonicalize_name(one.name): Version(str(one.specifier)[2:]) for one in found}


@pytest.mark.parametrize("name", ["requirements.in", "requirements-dev.in"])
def test_lock_covers_what_is_asked_for(name: str, project: Path, locked: dict[str, Version]) -> None:
    asked = requirements(project / name)
    missing = [str(one) for one in asked if not _satisfied(one, locked)]
    assert missing == [], "run `make lock`"


def test_direct_dependencies_hold_the_platforms(project: Path) -> None:
    assert {one.name for one in requirements(project / "requirements.in")} >= USED_FOR_REAL


def test_lock_names_no_index_and_no_file(project: Path) -> None:
    text = (project / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text


def test_every_import_of_the_project_is_a_direct_dependency(project: Path) -> None:
    """Nothing stands on a package that is there only because something else wants it."""
    files = [project / name for name in ("requirements.in", "requirements-dev.in")]
    asked = {canonicalize_name(one.name) for file in files for one in requirements(file)}
    providers = {root: {canonicalize_name(name) for name in names} for root, names in packages_distributions().items()}
    paths = [path for package in OWN for path in (project / package).rglob("*.py")]
    outside = {root: path.name for path in paths for root in imported(path) - OWN - set(sys.stdlib_module_names)}
    assert {root: path for root, path in outside.items() if not providers.get(root, set()) & asked} == {}


def _satisfied(asked: Requirement, locked: dict[str, Version]) -> bool:
    version = locked.get(canonicalize_name(asked.name))
    return version is not None and asked.specifier.contains(version, prereleases=True)
