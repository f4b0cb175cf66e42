"""What every move of the alias is done with: the registry, the trail, the lock, and who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tasks.register.audit import Action, AuditRecord, AuditStore, Event
from tasks.register.lock import Lock
from tasks.tracker import utc_now


class RegistryPort(Protocol):
    """What a promotion needs of a registry."""

    @property
    def name(self) -> str:
        """The registered model."""

    @property
    def alias(self) -> str:
        """The alias that is moved."""

    def champion(self) -> str | None:
        """The version that the alias points to."""

    def set_champion(self, version: str | None) -> None:
        """Point the alias to a version; None takes it away."""

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""


@dataclass(frozen=True)
class Desk:
    """See the module."""

    registry: RegistryPort
    audit: AuditStore
    lock: Lock
    who: str = ""
    run: str = ""
    now: Callable[[], str] = utc_now
    flow_run: str = ""
    """Prefect's id of the flow run, where it can be suspended."""

    def record(
        self, event: Event, action: Action, before: str | None, after: str | None, *, reasons: tuple[str, ...] = (),
        intent: str = "", who: str | None = None, run: str | None = None, until: str = "", flow_run: str = "",
    ) -> None:
        """Write one record. `who` and `run` are those of the desk unless named."""
        self.audit.append(
            AuditRecord(
                time=self.now(), event=event, action=action, intent=intent, model=self.registry.name,
                alias=self.registry.alias, before=before, after=after, who=self.who if who is None else who,
                run=self.run if run is None else run, reasons=reasons, until=until, flow_run=flow_run,
            )
        )

    def trail(self) -> list[AuditRecord]:
        """The records of this model and alias, oldest first."""
        names = (self.registry.name, self.registry.alias)
        return [record for record in self.audit.records() if (record.model, record.alias) == names]


def open_intent(records: Sequence[AuditRecord]) -> AuditRecord | None:
    """The intent whose end is not written down; there is at most one, as it needs the lock."""
    ended = {record.intent for record in records if record.event in {"done", "abandoned"}}
    return next((one for one in reversed(records) if one.event == "intent" and one.intent not in ended), None)


def last_move(records: Sequence[AuditRecord]) -> AuditRecord | None:
    """The record of where the alias points; None before the first."""
    return next((one for one in reversed(records) if one.event in {"done", "moved", "abandoned"}), None)


def named(version: str | None) -> str:
    """A version in a sentence."""
    return "nothing" if version is None else f"version {version}"
