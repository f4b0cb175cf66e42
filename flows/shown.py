"""What a stage tells its progress to: the displays of its run, and the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from flows.progress_display import Display
from tasks.errors import LlavaflowError


class Stopped(LlavaflowError):
    """The run is being stopped: a stage notices when it next tells its progress."""


class ShownProgress:
    """A `Progress` that shows itself."""

    def __init__(
        self, stage: str, displays: Sequence[Display], logger: logging.Logger, stopping: threading.Event
    ) -> None:
        self._stage, self._displays, self._logger, self._stopping = stage, displays, logger, stopping

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """See `Progress`. Raises Stopped if the run is being stopped."""
        if self._stopping.is_set():
            raise Stopped(f"{self._stage} was stopped")
        for display in self._displays:
            display.update(self._stage, done, total, shown)

    def note(self, message: str) -> None:
        """See `Progress`."""
        self._logger.info("%s: %s", self._stage, message)


class ShownStep:
    """A `tasks.making.Step` that shows itself."""

    def __init__(self, progress: ShownProgress) -> None:
        self._progress = progress
        self.reason: str | None = None
        self.detail = ""

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """See `Progress`."""
        self._progress.update(done, total, **shown)

    def note(self, message: str) -> None:
        """See `Progress`."""
        self._progress.note(message)

    def found(self, reason: str) -> None:
        """See `Step`."""
        self.reason = reason

    def made(self, detail: str) -> None:
        """See `Step`."""
        self.detail = detail
