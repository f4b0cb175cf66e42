"""What the libraries are told through the environment: where to write, what not to send, how much to say.

All of it is here, and set before any of them is imported. What the caller has set already stays.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from configs.settings import Settings
from flows.machine import LOOPBACK, ThisMachine
from tasks.tracking import ENVIRONMENT as MLFLOW

LOGGER = "llavaflow"
"""Name of the logger that stages write to."""


def prepare_environment(settings: Settings) -> None:
    """Set what is not set. Makes the token that Ray's processes know each other by, once under the root."""
    home = settings.home()
    for name, value in {**folders(home), **PRIVACY, **QUIET, **MLFLOW, **_prefect(settings)}.items():
        os.environ.setdefault(name, value)
    if settings.ray_address is None and "RAY_AUTH_TOKEN" not in os.environ:
        _make_token(Path(os.environ["RAY_AUTH_TOKEN_PATH"]))
    if not ThisMachine().gpus():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    _first_in("PATH", str(Path(sys.executable).parent), os.pathsep)
    for name in ("NO_PROXY", "no_proxy"):
        for host in sorted(LOOPBACK):
            _first_in(name, host, ",")


def folders(home: Path) -> dict[str, str]:
    """Where the libraries write: under the root of all runs, or beside their own packages."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "RAY_AUTH_TOKEN_PATH": str(home / "ray-token"),
        "HF_HOME": str(home / "huggingface"),
        "MPLCONFIGDIR": str(home / "matplotlib"),
        "TRITON_CACHE_DIR": str(home / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(home / "inductor"),
        "TORCH_EXTENSIONS_DIR": str(Path(sys.prefix) / "torch_extensions"),
    }


PRIVACY = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""Telemetry of every library, off."""

QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_AUTH_MODE": "token",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    # Helpers of Ray Train that are processes of their own, seconds of start-up each, and of no use to us on a machine
    # that nobody preempts; a cluster's operator sets them as needed.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
}


def _prefect(settings: Settings) -> dict[str, str]:
    told = {
        "PREFECT_LOGGING_EXTRA_LOGGERS": LOGGER,
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
    }
    return told | ({"PREFECT_API_URL": settings.prefect_api_url} if settings.prefect_api_url else {})


def _make_token(path: Path) -> None:
    """A token of our own, or Ray writes one into the user's home."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.touch(mode=0o600)
    part.write_text(secrets.token_hex(32), encoding="ascii")
    part.replace(path)


def _first_in(name: str, entry: str, separator: str) -> None:
    """Put an entry in front of a list, once."""
    entries = [part for part in os.environ.get(name, "").split(separator) if part]
    if entry not in entries:
        os.environ[name] = separator.join([entry, *entries])
