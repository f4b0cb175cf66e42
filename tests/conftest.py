"""What every test stands on: no network, no telemetry, nothing written outside a temporary folder.

Libraries read these variables when they are imported, so they are set here, before any test module is.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
HOMES = Path(tempfile.mkdtemp(prefix="llavaflow-tests-"))

for name in [name for name in os.environ if name.startswith("LLAVAFLOW_") and name != "LLAVAFLOW_SHARED_DATA"]:
    del os.environ[name]
os.environ |= {
    "LLAVAFLOW_ROOT": str(HOMES / "runs"),
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HOME": str(HOMES / "huggingface"),
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": str(HOMES / "prefect"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A token of our own, or Ray writes one into the user's home.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0" * 64,
    "MPLCONFIGDIR": str(HOMES / "matplotlib"),
    "DS_ACCELERATOR": "cpu",
    "TORCH_EXTENSIONS_DIR": str(PROJECT / ".venv" / "torch_extensions"),
    "TOKENIZERS_PARALLELISM": "false",
    # DeepSpeed calls ninja, and its workers python, by name.
    "PATH": f"{PROJECT / '.venv' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
}


def pytest_unconfigure() -> None:
    shutil.rmtree(HOMES, ignore_errors=True)


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Iterator[Path]:
    """The folder of real data that LLAVAFLOW_SHARED_DATA names; a test that wants it skips where there is none."""
    folder = os.environ.get("LLAVAFLOW_SHARED_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LLAVAFLOW_SHARED_DATA names no folder of real data")
    yield Path(folder)
