"""Prefect for a run: the API that is configured, or a server of our own for as long as the run takes."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import EnvironmentProblem

PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS = 180.0
"""The first start makes the database, which takes a while on a busy machine."""
STOP_SECONDS = 10.0


@contextmanager
def prefect_api() -> Iterator[Callable[[], None]]:
    """An API for flows to report to, PREFECT_API_URL being set to it. Yields a function that waits until it is up.

    Where PREFECT_API_URL is set already, that one is used. Otherwise a server is started in the background at once:
    to load it takes seconds, in which the run can do other things.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield lambda: None
        return
    server = Server(Path(os.environ["PREFECT_HOME"]))
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{server.port}/api"
    try:
        yield server.wait
    finally:
        try:
            _flush()
        finally:
            del os.environ["PREFECT_API_URL"]
            server.stop()


class Server:
    """A server process of our own. Its messages go to `<home>/server.log`."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / "server.log"
        with self.log.open("ab") as log:
            # In a session of its own: an interrupt from the terminal is to reach the run, which stops the server last.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.prefect_server"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=PROJECT, start_new_session=True,
            )
        assert self.process.stdout is not None
        told = self.process.stdout.readline()
        if not told:
            raise self._problem()
        self.port = int(told)
        self._up = False

    def wait(self) -> None:
        """Wait until it answers. Raises EnvironmentProblem if it does not come up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            # It listens from the start, and answers when it is ready.
            connection.request("GET", "/api/health")
            if connection.getresponse().status != 200:
                raise self._problem()
            self._up = True
        except (OSError, http.client.HTTPException) as error:
            raise self._problem() from error
        finally:
            connection.close()

    def stop(self) -> None:
        """Let it write down what it still holds, and end. One that nobody has used yet is not waited for."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        if not self._up:
            self.process.kill()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _problem(self) -> EnvironmentProblem:
        lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "it says nothing")
        return EnvironmentProblem(f"the Prefect server did not start ({last[:200]}); see {self.log}")


def _flush() -> None:
    """Send the logs and events that are still on their way, if Prefect was used at all."""
    if "prefect" not in sys.modules:
        return
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    APILogHandler().flush()
    EventsWorker.drain_all(timeout=5)
