"""Bring the trail up to date: what a crash cut off, what was moved by other means, what nobody answered in time."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.register.audit import Action, AuditRecord, Event
from tasks.register.desk import Desk, last_move, open_intent

TIME_LIMIT = "time limit"
"""Who rejects what nobody answered."""


def settle(desk: Desk) -> None:
    """Write down how it ended what a crash cut off, that the alias was moved by other means, and what is out of time.

    Needs the lock. Killed at any point and called again, it ends the same.
    """
    records, now = desk.trail(), desk.registry.champion()
    intent = open_intent(records)
    if intent is not None:
        reached = now == intent.after
        if reached and intent.after is not None:
            tag_champion(desk, intent.action, intent.before, intent.after, intent.reasons)
        event: Event = "done" if reached else "abandoned"
        desk.record(
            event, intent.action, intent.before, intent.after if reached else intent.before,
            reasons=("settled after a crash",), intent=intent.intent, run=intent.run,
        )
    last = last_move(desk.trail())
    if last and last.after != now:
        desk.record("moved", "promote", last.after, now, reasons=("moved by other means",))
    for asked in open_questions(records):
        if asked.until and asked.until <= desk.now():
            reject_version(desk, asked, ("nobody answered in time",), TIME_LIMIT)


def history(desk: Desk) -> list[AuditRecord]:
    """The trail, oldest first; an alias that was moved by other means since is its last, unwritten record."""
    records, now = desk.trail(), desk.registry.champion()
    last = last_move(records)
    if last and last.after != now and not open_intent(records):
        records.append(
            AuditRecord(
                time=desk.now(), event="moved", action="promote", model=desk.registry.name, alias=desk.registry.alias,
                before=last.after, after=now, reasons=("moved by other means",),
            )
        )
    return records


def tag_champion(desk: Desk, action: Action, before: str | None, after: str, reasons: tuple[str, ...]) -> None:
    """Write on a version that it was promoted, and over which."""
    if action == "promote":
        desk.registry.tag(after, {"decision": "promote", "reasons": "\n".join(reasons)})
        if before is not None:
            desk.registry.tag(after, {"champion_before": before})


def open_questions(records: Sequence[AuditRecord]) -> list[AuditRecord]:
    """Who waits for a person's answer, oldest first."""
    return [record for record in records if record.event == "waits" and answer_to(records, record) is None]


def answer_to(records: Sequence[AuditRecord], asked: AuditRecord) -> AuditRecord | None:
    """The answer to a question; None while it waits. An answer bears the run of its question."""
    return next(
        (
            one for one in reversed(records)
            if one.event in {"approved", "rejected"} and (one.run, one.after) == (asked.run, asked.after)
        ),
        None,
    )


def reject_version(desk: Desk, asked: AuditRecord, reasons: tuple[str, ...], who: str) -> None:
    """Answer a question with no. The tag comes first: killed in between, the question is still open."""
    assert asked.after is not None, "a question is about a version"
    desk.registry.tag(asked.after, {"decision": "hold", "reasons": "\n".join(reasons)})
    desk.record("rejected", "promote", asked.before, asked.after, reasons=reasons, who=who, run=asked.run)
