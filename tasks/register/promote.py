"""Move the alias `champion`, under a lock and with a precondition, so that every crash leaves it before or after.

MLflow's alias is last-writer-wins and forgets what it was. Here a move is: take the lock, settle what a crash left
behind, check that the champion is the one the gate compared with, write the intent, move, tag, write the outcome.
Started again after a crash at any of these points it ends in exactly one of before and after, and the trail says which.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from tasks.artifacts import Promotion
from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord, AuditStore
from tasks.register.verdict import Verdict
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

    def set_champion(self, version: str) -> None:
        """Point the alias to a version."""

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        """Set tags of a version."""


@dataclass(frozen=True)
class Desk:
    """What every move is done with: the registry, the trail, the lock, and who does it."""

    registry: RegistryPort
    audit: AuditStore
    lock: Callable[[], AbstractContextManager[None]]
    who: str = ""
    run: str = ""
    now: Callable[[], str] = utc_now

    def record(
        self, event: Literal["intent", "done", "abandoned", "held", "moved"], action: Literal["promote", "rollback"],
        before: str | None, after: str | None, *, reasons: tuple[str, ...] = (), intent: str = "",
    ) -> None:
        """Write one record."""
        self.audit.append(
            AuditRecord(
                time=self.now(), event=event, action=action, intent=intent, model=self.registry.name,
                alias=self.registry.alias, before=before, after=after, who=self.who, run=self.run, reasons=reasons,
            )
        )

    def trail(self) -> list[AuditRecord]:
        """The records of this model and alias, oldest first."""
        names = (self.registry.name, self.registry.alias)
        return [record for record in self.audit.records() if (record.model, record.alias) == names]


def promote(desk: Desk, version: str, verdict: Verdict, expected_champion: str | None) -> Promotion:
    """Do what the gate decided: move the alias to `version`, or hold and leave it.

    `expected_champion` is the version that the gate compared with. Raises RegistryError if the alias points to another
    by now: the verdict says nothing about that one.
    """
    with desk.lock():
        settle(desk)
        before = desk.registry.champion()
        reasons = verdict.sentences()
        if verdict.verdict == "hold":
            _hold(desk, version, before, reasons)
        elif before != version:
            if before != expected_champion:
                raise RegistryError(
                    f"{desk.registry.alias} is {_named(before)}, but version {version} was compared with "
                    f"{_named(expected_champion)}; run again to compare it with the present one"
                )
            _move(desk, "promote", before, version, reasons)
        after = desk.registry.champion()
    return Promotion(
        verdict=verdict.verdict, reasons=reasons, challenger=version, champion_before=before, champion_after=after
    )


def rollback(desk: Desk, to: str | None = None, reason: str = "") -> Promotion:
    """Point the alias back to the champion before the present one, or to version `to`, by the same steps.

    Raises RegistryError if there is nothing to go back to.
    """
    with desk.lock():
        settle(desk)
        before = desk.registry.champion()
        target = to or _previous(desk, before)
        if target is None:
            raise RegistryError(f"the trail knows no {desk.registry.alias} before {_named(before)}; name one by --to")
        reasons = (reason or f"rolled back from {_named(before)}",)
        if target != before:
            _move(desk, "rollback", before, target, reasons)
    return Promotion(
        verdict="promote", reasons=reasons, challenger=target, champion_before=before, champion_after=target
    )


def history(desk: Desk) -> list[AuditRecord]:
    """The trail, oldest first; an alias that was moved by other means since is its last, unwritten record."""
    records, now = desk.trail(), desk.registry.champion()
    last = _last_move(records)
    if last and last.after != now and not _open_intent(records):
        records.append(
            AuditRecord(
                time=desk.now(), event="moved", action="promote", model=desk.registry.name, alias=desk.registry.alias,
                before=last.after, after=now, reasons=("moved by other means",),
            )
        )
    return records


def settle(desk: Desk) -> None:
    """Write down how it ended what a crash cut off, and that the alias was moved by other means. Needs the lock."""
    records, now = desk.trail(), desk.registry.champion()
    intent = _open_intent(records)
    if intent is not None:
        reached = now == intent.after
        if reached and intent.after is not None:
            _tag_champion(desk, intent.action, intent.before, intent.after, intent.reasons)
        event: Literal["done", "abandoned"] = "done" if reached else "abandoned"
        desk.record(
            event, intent.action, intent.before, intent.after if reached else intent.before,
            reasons=("settled after a crash",), intent=intent.intent,
        )
    last = _last_move(desk.trail())
    if last and last.after != now:
        desk.record("moved", "promote", last.after, now, reasons=("moved by other means",))


def _move(
    desk: Desk, action: Literal["promote", "rollback"], before: str | None, after: str, reasons: tuple[str, ...]
) -> None:
    intent = uuid.uuid4().hex
    desk.record("intent", action, before, after, reasons=reasons, intent=intent)
    desk.registry.set_champion(after)
    _tag_champion(desk, action, before, after, reasons)
    desk.record("done", action, before, after, reasons=reasons, intent=intent)


def _tag_champion(
    desk: Desk, action: Literal["promote", "rollback"], before: str | None, after: str, reasons: tuple[str, ...]
) -> None:
    if action == "promote":
        desk.registry.tag(after, {"decision": "promote", "reasons": "\n".join(reasons)})
        if before is not None:
            desk.registry.tag(after, {"champion_before": before})


def _hold(desk: Desk, version: str, champion: str | None, reasons: tuple[str, ...]) -> None:
    desk.registry.tag(version, {"decision": "hold", "reasons": "\n".join(reasons)})
    held = [record for record in desk.trail() if record.event == "held" and record.after == version]
    if not held or (held[-1].before, held[-1].reasons) != (champion, reasons):
        desk.record("held", "promote", champion, version, reasons=reasons)


def _open_intent(records: list[AuditRecord]) -> AuditRecord | None:
    """The intent whose end is not written down; there is at most one, as it needs the lock."""
    ended = {record.intent for record in records if record.event in {"done", "abandoned"}}
    return next((one for one in reversed(records) if one.event == "intent" and one.intent not in ended), None)


def _last_move(records: list[AuditRecord]) -> AuditRecord | None:
    """The record of where the alias points; None before the first."""
    return next((one for one in reversed(records) if one.event in {"done", "moved", "abandoned"}), None)


def _previous(desk: Desk, champion: str | None) -> str | None:
    """The champion that the present one was promoted over; a way back is no promotion."""
    for record in reversed(desk.trail()):
        moved = record.event == "moved" or (record.event == "done" and record.action == "promote")
        if moved and record.after == champion:
            return record.before
    return None


def _named(version: str | None) -> str:
    return "nothing" if version is None else f"version {version}"
