"""The list of withdrawn images: images that no model may learn from any more, who said so, when and why.

Append-only. An image is named by the sha256 of its file, so that it stays out under any id and in any source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from tasks.artifacts import Frozen
from tasks.errors import DataError

FILE = "withdrawn.jsonl"


class Withdrawal(Frozen):
    """One line of the list. The last one of an image counts."""

    sha256: str
    """Of the image's file."""
    event: Literal["withdrawn", "restored"]
    time: str
    """UTC, ISO 8601."""
    who: str
    reason: str = ""
    named: str = ""
    """What the image was named by, where that was its id."""


class WithdrawnImages:
    """The list in a file under the root. Every line is durable before `append` returns."""

    def __init__(self, home: Path) -> None:
        self.path = home / FILE

    def append(self, lines: Iterable[Withdrawal]) -> None:
        """Add lines to the list. What a crash cut off of an earlier one is ended first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as handle:
            if end := handle.seek(0, os.SEEK_END):
                handle.seek(end - 1)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
            handle.flush()
            os.fsync(handle.fileno())

    def history(self) -> list[Withdrawal]:
        """All lines, oldest first. Raises DataError for one that cannot be read: an image could slip through."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        try:
            return [Withdrawal.model_validate_json(line) for line in lines if line]
        except ValidationError as error:
            raise DataError(f"{self.path} cannot be read; restore it, or mend the line that is damaged") from error

    def now(self, until: str | None = None) -> dict[str, Withdrawal]:
        """The images that are withdrawn, by sha256; as it was at a time (UTC, ISO 8601) where one is given."""
        last: dict[str, Withdrawal] = {}
        for line in self.history():
            if until is None or line.time <= until:
                last[line.sha256] = line
        return {sha256: line for sha256, line in sorted(last.items()) if line.event == "withdrawn"}
