"""The architecture: import-linter's contracts hold, and what must stay light imports without the heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "ray", "deepspeed", "mlflow", "prefect", "webdataset")
LIGHT_MODULES = (
    "configs.load",
    "configs.settings",
    "flows.doctor",
    "model.questions",
    "model.records",
    "model.templates",
    "tasks.artifacts",
    "tasks.chat.client",
    "tasks.shard.run",
    "tasks.shards",
    "tasks.stages",
    "tasks.storage",
)
PROBE = """
import importlib, logging, os, sys, threading
before = dict(os.environ), os.getcwd(), list(sys.path), list(logging.getLogger().handlers)
importlib.import_module(sys.argv[1])
assert before == (dict(os.environ), os.getcwd(), list(sys.path), list(logging.getLogger().handlers)), "state changed"
assert threading.active_count() == 1, "a thread was started"
print(*sorted(set(sys.argv[2:]) & set(sys.modules)))
"""


def test_import_linter_s_contracts_hold(project: Path) -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", "pyproject.toml", "--no-cache"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_light_modules_load_nothing_heavy_and_change_nothing(module: str, project: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module, *HEAVY],
        cwd=tmp_path,
        env={"PYTHONPATH": str(project), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], f"{module} loads {done.stdout.strip()}"
    assert list(tmp_path.iterdir()) == [], f"{module} writes files when it is imported"
