"""How workers tell the driver what they do, on any cluster: a small actor that keeps lines until they are fetched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Line = dict[str, float | str]
POLL_SECONDS = 0.5


class Board:
    """Keeps lines until the driver takes them. Runs as a Ray actor."""

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._stopping = False

    def stop(self) -> None:
        """Have the workers keep where they are, and end."""
        self._stopping = True

    def stopping(self) -> bool:
        """Whether they were told to."""
        return self._stopping

    def put(self, line: Line) -> None:
        """Add a line."""
        self._lines.append(line)

    def take(self) -> list[Line]:
        """All lines since the last take."""
        lines, self._lines = self._lines, []
        return lines


class Watcher:
    """Fetches the lines of a board in a thread and hands them on."""

    def __init__(self, board: Any, receive: Callable[[Line], None]) -> None:
        self._board, self._receive = board, receive
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="training-board", daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10)

    def _watch(self) -> None:
        import ray

        while True:
            last = self._stop.wait(POLL_SECONDS)
            try:
                for line in ray.get(self._board.take.remote(), timeout=30):
                    self._receive(line)
            except ray.exceptions.RayError:
                return
            if last:
                return
