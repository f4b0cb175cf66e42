"""The audit trail of promotions: append-only, every record durable before anything else happens.

Here as JSONL; `database` and `objects` keep it where several machines see it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, Protocol

from pydantic import ValidationError

from tasks.artifacts import Frozen
from tasks.errors import RegistryError

Event = Literal["intent", "done", "abandoned", "held", "moved", "waits", "approved", "rejected", "alert"]
"""intent: about to move the alias. done: moved. abandoned: an intent that came to nothing. held: the gate said no.
moved: somebody else had moved the alias, as was found out later. waits: a person is asked. approved, rejected: the
person's answer, or that there was none in time. alert: the champion does not answer as it was registered."""
Action = Literal["promote", "rollback"]


class AuditRecord(Frozen):
    """One line of the trail."""

    time: str
    """UTC, ISO 8601."""
    event: Event
    action: Action
    intent: str = ""
    """Ties a done or abandoned record to its intent."""
    model: str
    alias: str
    before: str | None
    """Version that the alias pointed to before."""
    after: str | None
    """Version that it is to point to, or points to since."""
    who: str = ""
    run: str = ""
    """The pipeline's id of the run that asked for it."""
    reasons: tuple[str, ...] = ()
    until: str = ""
    """Until when an answer is waited for: UTC, ISO 8601."""
    flow_run: str = ""
    """Prefect's id of the flow run that is suspended until then."""


class AuditStore(Protocol):
    """Keeps records for ever, in the order they came."""

    def append(self, record: AuditRecord) -> None:
        """Keep a record; it is durable when this returns."""

    def records(self) -> list[AuditRecord]:
        """All records, oldest first."""


class JsonlAudit:
    """The trail in one file. A line that a crash cut off is no record; the next append starts a new line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: AuditRecord) -> None:
        """See `AuditStore`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as handle:
            end = handle.seek(0, os.SEEK_END)
            if end:
                handle.seek(end - 1)
                if handle.read(1) != b"\n":
                    handle.write(b"\n")
            handle.write(record.model_dump_json().encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())

    def records(self) -> list[AuditRecord]:
        """See `AuditStore`. Raises RegistryError if a whole line is no record: the trail was edited."""
        if not self.path.exists():
            return []
        found = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").split("\n"), start=1):
            try:
                if line:
                    found.append(AuditRecord.model_validate_json(line))
            except ValidationError as error:
                if _is_json(line):
                    raise RegistryError(f"{self.path}: line {number} is no audit record; restore the file") from error
        return found


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
