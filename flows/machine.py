"""What this machine has, read without importing anything heavy. `flows/doctor.py` judges it; tests put a fake here."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import psutil

from configs.settings import Settings
from flows.logins import login_problem

TIMEOUT_SECONDS = 2.0
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CGROUP = Path("/sys/fs/cgroup")
NVIDIA = Path("/proc/driver/nvidia/gpus")
DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "ray": 10001, "redis": 6379, "mysql": 3306}


class Machine(Protocol):
    """The questions that a diagnosis asks. Sizes are in bytes; a problem is one phrase, None where there is none."""

    def python(self) -> tuple[int, int]:
        """Major and minor version of the interpreter."""

    def installed(self, package: str) -> str | None:
        """Version of an installed package."""

    def program(self, name: str) -> str | None:
        """Path of a program, on PATH or beside this Python."""

    def compiled(self, operation: str) -> bool:
        """Whether DeepSpeed's operation has been compiled already."""

    def cpus(self) -> int:
        """Cores that this process may use."""

    def gpus(self) -> list[str]:
        """Names of the GPUs."""

    def free_memory(self) -> int:
        """Memory to be had, the limit of a container counted."""

    def free_disk(self, path: Path) -> int:
        """Room on the disk of a folder, which need not exist yet."""

    def writing_problem(self, path: Path) -> str | None:
        """Why nothing can be written below a folder, which need not exist yet."""

    def loopback_problem(self) -> str | None:
        """Why no server can be started on 127.0.0.1."""

    def reaching_problem(self, url: str) -> str | None:
        """Why no server answers at a URL. Over HTTP a refusal is an answer; a gateway with nobody behind it is none."""

    def login_problem(self, service: str, settings: Settings) -> str | None:
        """Why a service that answers does not let us in (`flows.logins`)."""

    def variable(self, name: str) -> str | None:
        """An environment variable."""


class ThisMachine:
    """The machine that this process runs on."""

    def python(self) -> tuple[int, int]:
        """See `Machine`."""
        return sys.version_info[:2]

    def installed(self, package: str) -> str | None:
        """See `Machine`."""
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    def program(self, name: str) -> str | None:
        """See `Machine`."""
        return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))

    def compiled(self, operation: str) -> bool:
        """See `Machine`."""
        folder = os.environ.get("TORCH_EXTENSIONS_DIR") or str(Path(sys.prefix) / "torch_extensions")
        return Path(folder, operation, f"{operation}.so").is_file()

    def cpus(self) -> int:
        """See `Machine`."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def gpus(self) -> list[str]:
        """See `Machine`."""
        return [_gpu_name(folder / "information") for folder in sorted(NVIDIA.iterdir())] if NVIDIA.is_dir() else []

    def free_memory(self) -> int:
        """See `Machine`."""
        available = int(psutil.virtual_memory().available)
        limit, used = _number(CGROUP / "memory.max"), _number(CGROUP / "memory.current")
        return available if limit is None or used is None else min(available, limit - used)

    def free_disk(self, path: Path) -> int:
        """See `Machine`."""
        return shutil.disk_usage(_existing(path)).free

    def writing_problem(self, path: Path) -> str | None:
        """See `Machine`."""
        try:
            with tempfile.TemporaryFile(dir=_existing(path)):
                return None
        except OSError as error:
            return error.strerror or type(error).__name__

    def loopback_problem(self) -> str | None:
        """See `Machine`."""
        try:
            with socket.create_server(("127.0.0.1", 0)):
                return None
        except OSError as error:
            return error.strerror or type(error).__name__

    def reaching_problem(self, url: str) -> str | None:
        """See `Machine`."""
        return _http_problem(url) if urlsplit(url).scheme in {"http", "https"} else _tcp_problem(url)

    def login_problem(self, service: str, settings: Settings) -> str | None:
        """See `Machine`."""
        return login_problem(service, settings)

    def variable(self, name: str) -> str | None:
        """See `Machine`."""
        return os.environ.get(name)


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such limit, or "max"
        return None


def _gpu_name(information: Path) -> str:
    try:
        lines = information.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")), "NVIDIA GPU")


def _http_problem(url: str) -> str | None:
    parts = urlsplit(url)
    # A proxy knows nothing of servers on this machine.
    proxies: dict[str, str] | None = {} if parts.hostname in LOOPBACK else None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))  # urllib takes user:key@ for a host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
    try:
        with opener.open(bare, timeout=TIMEOUT_SECONDS):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return f"it answers {error.code}" if error.code > 500 else None
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


def _tcp_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url if "://" in url else f"tcp://{url}")
        port = parts.port or DEFAULT_PORTS.get(parts.scheme.split("+")[0])
        if parts.hostname is None or port is None:
            return "it names no host and port"
        with socket.create_connection((parts.hostname, port), timeout=TIMEOUT_SECONDS):
            return None
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
