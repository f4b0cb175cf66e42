"""Progress that remembers what it was told."""

from __future__ import annotations


class Noted:
    """The notes, and how far it came."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.done = 0

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """Remember the count."""
        self.done = done

    def note(self, message: str) -> None:
        """Remember the message."""
        self.notes.append(message)
