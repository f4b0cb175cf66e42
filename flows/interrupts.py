"""Ctrl-C and SIGTERM: the run ends in order, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import NoReturn

import psutil

GRACE_SECONDS = 5.0


class Interrupted(KeyboardInterrupt):
    """Somebody asked the run to end."""


class Interrupts:
    """Turns the first SIGINT or SIGTERM into Interrupted, raised in the main thread; a second one ends it at once."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def status(self) -> int:
        """Exit status of a process that a signal ended, as shells count it."""
        return 128 + (self.signal or signal.SIGTERM)

    def _heard(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            end_children(grace=0.5)
            os._exit(128 + number)
        self.signal = number
        os.write(2, b"\nstopping; once more to stop at once\n")
        raise Interrupted(signal.Signals(number).name)


def end_children(grace: float = GRACE_SECONDS) -> None:
    """End whatever processes this one has left, gently first."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _ask(child, signal.SIGTERM)
    for child in psutil.wait_procs(children, timeout=grace)[1]:
        _ask(child, signal.SIGKILL)


def leave(status: int) -> NoReturn:
    """End this process. A stage in another thread that does not hear that it is over is not waited for."""
    sys.stdout.flush()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() and not thread.daemon for thread in threading.enumerate()):
        end_children()
        os._exit(status)
    sys.exit(status)


def _ask(child: psutil.Process, number: signal.Signals) -> None:
    try:
        child.send_signal(number)
    except psutil.NoSuchProcess:
        return
