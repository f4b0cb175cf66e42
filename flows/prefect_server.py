"""A Prefect server for the time of one run, as a process of its own: `python -m flows.prefect_server`.

It takes a free port on 127.0.0.1 and prints it at once; whoever connects waits until it is ready. It ends when its
standard input does, which is when the run ends, however that ends. Its database lies under PREFECT_HOME and stays.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uvicorn

SETTINGS = {
    "PREFECT_UI_ENABLED": "false",
    # These two let the server leave out what only a long-lived one needs: schedules, late runs, notifications.
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


def main() -> None:
    """Serve until standard input ends."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    os.environ.pop("PREFECT_API_URL", None)
    os.environ.update(SETTINGS)
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    with (home / "start.lock").open("a") as lock:
        # Of two servers on one database the second waits until the first has brought it up to date.
        fcntl.flock(lock, fcntl.LOCK_EX)
        server = _server(lambda: fcntl.flock(lock, fcntl.LOCK_UN))
        threading.Thread(target=_end_with_input, args=(server,), daemon=True).start()
        server.run(sockets=[listening])
    sys.stderr.flush()
    # All is written. To take the interpreter apart in order would be another second and a half.
    os._exit(0)


def _server(started: Callable[[], None]) -> uvicorn.Server:
    import uvicorn
    from prefect.server.api.server import create_app

    class Server(uvicorn.Server):
        """Says when it is up."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Start, then say so."""
            await super().startup(sockets)
            started()

    return Server(uvicorn.Config(create_app(), log_level="error", access_log=False, timeout_graceful_shutdown=3))


def _end_with_input(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


if __name__ == "__main__":
    main()
