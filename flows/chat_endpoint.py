"""Which endpoint the chat page asks: one that is named, or `llavaflow serve`, started for as long as the page is."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.settings import Settings
from tasks.errors import ConfigError, EnvironmentProblem

READY_SECONDS = 300.0
"""A model is loaded in that time, or the start has failed."""
POLL_SECONDS = 0.5
STOP_SECONDS = 20.0
LOG = "serve.log"


@contextmanager
def endpoint_of(endpoint: str, model: str, settings: Settings) -> Iterator[str]:
    """The base URL (.../v1) of the endpoint that is named; of one that is started where none is named.

    Raises ConfigError for what is no URL, EnvironmentProblem if the start fails.
    """
    if endpoint:
        yield checked(endpoint)
        return
    with started(serve_command(model, port := _free_port()), port, settings.home() / "chat" / LOG) as base_url:
        yield base_url


def checked(endpoint: str) -> str:
    """The base URL, whatever the user left out at its end."""
    if not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"--endpoint {endpoint} is no URL; name one like http://127.0.0.1:8000/v1")
    bare = endpoint.rstrip("/")
    return bare if bare.endswith("/v1") else f"{bare}/v1"


def serve_command(model: str, port: int) -> list[str]:
    """How the project's own endpoint is started."""
    return [sys.executable, "-m", "flows.cli", "serve", model, "--host", "127.0.0.1", "--port", str(port)]


@contextmanager
def started(command: list[str], port: int, log: Path, seconds: float = READY_SECONDS) -> Iterator[str]:
    """Run a command until the block ends; yields its base URL once a model is ready.

    Raises EnvironmentProblem with the end of its log if it ends early, or is not ready in time.
    """
    base_url = f"http://127.0.0.1:{port}/v1"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said) as own:
        try:
            _wait(own, base_url, log, seconds)
            yield base_url
        finally:
            own.terminate()
            try:
                own.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                own.kill()


def _wait(own: subprocess.Popen[bytes], base_url: str, log: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not _ready(base_url):
        if own.poll() is not None or time.monotonic() > until:
            what = "ended" if own.poll() is not None else f"was not ready after {seconds:.0f} s"
            raise EnvironmentProblem(f"the endpoint {what}: {_last_line(log)} (see {log}); or name an --endpoint")
        time.sleep(POLL_SECONDS)


def _ready(base_url: str) -> bool:
    """Whether a model is loaded: before that the endpoint lists its models already, and answers nobody."""
    try:
        with urllib.request.urlopen(f"{base_url.removesuffix('/v1')}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip(" ╰─╯│")]
    return lines[-1].strip(" │") if lines else "it said nothing"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
