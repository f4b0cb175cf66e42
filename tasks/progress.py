"""How a stage says how far it is. The terminal line, the logs of Prefect and the tests each implement `Progress`."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what a stage has done so far."""

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """`done` of `total` units; `shown` are figures worth a place on the line (loss=1.23, rate="120 img/s")."""

    def note(self, message: str) -> None:
        """One sentence for the log: what was decided or noticed."""


class Silent:
    """Progress that nobody watches."""

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """Ignore the figures."""

    def note(self, message: str) -> None:
        """Ignore the message."""
