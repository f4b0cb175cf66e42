"""To stop in order: a worker that is told to leave has all keep a checkpoint of where they are, and end.

SIGTERM to a worker, and a run that is interrupted, come to the same. Python hears signals in the main thread alone,
and Ray trains in another; the handler is set where Ray sets up torch, which is the main thread.
"""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

POLL_SECONDS = 0.5
_told = threading.Event()


def told_to_stop() -> bool:
    """Whether this worker was told to leave."""
    return _told.is_set()


def listen() -> None:
    """Take SIGTERM as being told; Ray would end the process at once. For the main thread of a worker."""
    signal.signal(signal.SIGTERM, _hear)


def _hear(number: int, frame: FrameType | None) -> None:
    _told.set()


class Orders:
    """Asks the board from time to time, in a thread, whether the driver wants the workers to stop."""

    def __init__(self, board: Any) -> None:
        self._board, self._over = board, threading.Event()
        self._thread = threading.Thread(target=self._ask, name="orders", daemon=True)

    def __enter__(self) -> Orders:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _ask(self) -> None:
        import ray

        while not self._over.wait(POLL_SECONDS) and not _told.is_set():
            with suppress(ray.exceptions.RayError):
                if ray.get(self._board.stopping.remote(), timeout=30):
                    _told.set()
