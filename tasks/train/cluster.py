"""Ray: start one for the time of a run, or join an existing cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.errors import EnvironmentProblem
from tasks.processes import handlers_kept
from tasks.train.place import Place

PROJECT = Path(__file__).resolve().parents[2]
WORKER_VARIABLES = ("TORCH_EXTENSIONS_DIR", "DS_ACCELERATOR", "HF_HUB_OFFLINE", "PATH", "DO_NOT_TRACK")
SOCKET_PATH = 107
"""Longest path of a Unix socket; Ray puts some 60 characters behind its temporary folder."""

ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""glibc gives large blocks back to the kernel at once, so that each step would fault in all its pages anew. It reads
these when a process starts."""

_starting = threading.Lock()
_over = threading.Event()


@dataclass(frozen=True)
class RaySettings:
    """Where Ray runs. `address` None: a cluster of our own on this machine, its files under `temp`."""

    address: str | None
    temp: Path
    cpus: int = 2
    verbose: bool = False
    checkpoints: str | None = None
    """Where checkpoints of stages under way go: a folder or s3://bucket/prefix; None for their work folders."""
    storage_options: dict[str, Any] = field(default_factory=dict)
    """For fsspec, where that is an object store."""

    def place(self, work: Path) -> Place:
        """Where the checkpoints of the stage with this work folder go."""
        if self.checkpoints is None:
            return Place(str(work / "checkpoints"))
        return Place(f"{self.checkpoints.rstrip('/')}/{work.name}", self.storage_options)


def connect(settings: RaySettings) -> None:
    """Start or join the cluster; does nothing when connected. Safe to call from several threads.

    Raises EnvironmentProblem when Ray does not come up.
    """
    import ray

    with _starting:
        if ray.is_initialized():
            return
        if not settings.verbose:
            # It has a handler of its own, from when it was imported.
            logging.getLogger("ray").setLevel(logging.ERROR)
        try:
            with handlers_kept(signal.SIGINT, signal.SIGTERM):
                ray.init(
                    address=settings.address,
                    runtime_env={"env_vars": worker_environment()},
                    log_to_driver=settings.verbose,
                    logging_level=logging.WARNING if settings.verbose else logging.ERROR,
                    configure_logging=False,
                    namespace="llavaflow",
                    **({} if settings.address else _own_cluster(settings)),
                )
        except Exception as error:  # a node that does not come up in time is a bare Exception
            where = settings.address or "a cluster of our own"
            raise EnvironmentProblem(f"Ray ({where}) did not come up: {' '.join(str(error).split())[:300]}") from error


def warm_up(settings: RaySettings) -> threading.Thread:
    """Start the cluster in the background, so that it is up when training begins. A failure shows on `connect`.

    The thread stays until `shut_down`: Ray has its processes die with the thread that started them.
    """

    def start() -> None:
        try:
            connect(settings)
        except EnvironmentProblem as problem:
            logging.getLogger(__name__).debug("warm-up failed, training will try again: %s", problem)
        _over.wait()

    _over.clear()
    thread = threading.Thread(target=start, name="ray-warm-up", daemon=True)
    thread.start()
    return thread


def shut_down() -> None:
    """Leave the cluster; one of our own ends with all its processes."""
    import ray

    with _starting:
        if ray.is_initialized():
            ray.shutdown()
        _over.set()


def worker_environment() -> dict[str, str]:
    """Environment of workers: they find the project's packages, and what is set here for the libraries."""
    passed = {name: os.environ[name] for name in WORKER_VARIABLES if name in os.environ}
    path = os.pathsep.join(part for part in (str(PROJECT), os.environ.get("PYTHONPATH", "")) if part)
    return passed | ALLOCATOR | {"PYTHONPATH": path, "TOKENIZERS_PARALLELISM": "false"}


def _own_cluster(settings: RaySettings) -> dict[str, Any]:
    if len(str(settings.temp)) > SOCKET_PATH - 62:
        raise EnvironmentProblem(
            f"the path {settings.temp} is too long for Ray's sockets; set LLAVAFLOW_RAY_TEMP to a short folder"
        )
    settings.temp.mkdir(parents=True, exist_ok=True)
    return {
        # One more than the workers ask for: Ray Train's controller and our progress board take none, yet the
        # placement group must never wait for a slot that a dying worker still holds.
        "num_cpus": settings.cpus,
        "include_dashboard": False,
        "object_store_memory": 100_000_000,
        "_temp_dir": str(settings.temp),
    }
