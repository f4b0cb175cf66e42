"""The list of withdrawn images: images that no model may learn from any more, who said so, when and why.

Append-only. An image is named by the sha256 of its file, so that it stays out under any id and in any source.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Protocol

import fsspec
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


class Journal(Protocol):
    """Lines that are only ever added to."""

    @property
    def place(self) -> str:
        """Where it lies, for messages."""

    def append(self, lines: list[bytes]) -> None:
        """Add lines; they are durable when this returns."""

    def read(self) -> list[str]:
        """All lines, oldest first."""


class FileJournal:
    """Lines of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def place(self) -> str:
        """See `Journal`."""
        return str(self.path)

    def append(self, lines: list[bytes]) -> None:
        """See `Journal`. What a crash cut off of an earlier line is ended first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as handle:
            if end := handle.seek(0, os.SEEK_END):
                handle.seek(end - 1)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(b"".join(line + b"\n" for line in lines))
            handle.flush()
            os.fsync(handle.fileno())

    def read(self) -> list[str]:
        """See `Journal`."""
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []


class ObjectJournal:
    """Lines in objects under a uri, one object an append: S3 cannot add to an object. Objects are read by their names,
    which begin with the time of their first line."""

    def __init__(self, uri: str, options: dict[str, Any] | None = None) -> None:
        self.uri = uri
        self._options = options or {}

    @property
    def place(self) -> str:
        """See `Journal`."""
        return self.uri

    def append(self, lines: list[bytes]) -> None:
        """See `Journal`."""
        if lines:
            body = b"".join(line + b"\n" for line in lines)
            time = Withdrawal.model_validate_json(lines[0]).time
            name = f"{time}-{hashlib.sha256(body).hexdigest()[:12]}.jsonl"
            self._filesystem().pipe_file(f"{self.uri}/{name}", body)

    def read(self) -> list[str]:
        """See `Journal`."""
        filesystem = self._filesystem()
        try:
            # A listing that was remembered would hide what another machine has withdrawn since.
            filesystem.invalidate_cache()
            names = sorted(filesystem.find(self.uri))
        except FileNotFoundError:
            return []
        return [line for name in names for line in filesystem.cat_file(name).decode().splitlines()]

    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.uri, **self._options)[0]


class WithdrawnImages:
    """The list in a file under the root, or under a uri. Every line is durable before `append` returns."""

    def __init__(self, place: Path | str, options: dict[str, Any] | None = None) -> None:
        remote = isinstance(place, str)
        self.journal: Journal = ObjectJournal(str(place), options) if remote else FileJournal(Path(place, FILE))

    def append(self, lines: Iterable[Withdrawal]) -> None:
        """Add lines to the list."""
        self.journal.append([line.model_dump_json().encode() for line in lines])

    def history(self) -> list[Withdrawal]:
        """All lines, oldest first. Raises DataError for one that cannot be read: an image could slip through."""
        try:
            return [Withdrawal.model_validate_json(line) for line in self.journal.read() if line]
        except ValidationError as error:
            place = self.journal.place
            raise DataError(f"{place} cannot be read; restore it, or mend the line that is damaged") from error

    def now(self, until: str | None = None) -> dict[str, Withdrawal]:
        """The images that are withdrawn, by sha256; as it was at a time (UTC, ISO 8601) where one is given."""
        last: dict[str, Withdrawal] = {}
        for line in self.history():
            if until is None or line.time <= until:
                last[line.sha256] = line
        return {sha256: line for sha256, line in sorted(last.items()) if line.event == "withdrawn"}
