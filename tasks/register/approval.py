"""A person's yes or no. The question lies in the trail, so that nothing has to run while it waits.

Whoever answers (`llavaflow approve`) moves the alias by the same steps as a promotion that nobody was asked about. A
flow run that was suspended for the answer finds it in the trail when it is resumed, and so does any later run of the
same version.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from tasks.artifacts import Promotion
from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord
from tasks.register.desk import Desk
from tasks.register.moving import check_expected, move
from tasks.register.settle import answer_to, open_questions, reject_version, settle
from tasks.register.verdict import Outcome


class Answer(NamedTuple):
    """What was answered: the outcome, and the flow run that is suspended for it ("" for none)."""

    promotion: Promotion
    flow_run: str


def ask(desk: Desk, version: str, champion: str | None, reasons: tuple[str, ...], hours: float) -> AuditRecord | None:
    """The answer about a version as the next champion after `champion`; None while it is waited for. Needs the lock.

    The question is written down if it is not there yet.
    """
    records = desk.trail()
    asked = [one for one in records if one.event == "waits" and (one.before, one.after) == (champion, version)]
    if asked:
        return answer_to(records, asked[-1])
    until = datetime.fromisoformat(desk.now()) + timedelta(hours=hours)
    desk.registry.tag(version, {"decision": "needs_approval", "reasons": "\n".join(reasons)})
    desk.record(
        "waits", "promote", champion, version, reasons=reasons, until=until.isoformat(timespec="seconds"),
        flow_run=desk.flow_run,
    )
    return None


def approve(desk: Desk, run: str, reason: str) -> Answer:
    """Make the version that `run` asked about the champion. Killed at any point and called again, it ends the same.

    Raises RegistryError if the run does not wait, or the champion is another by now than when it asked.
    """
    with desk.lock() as hold:
        settle(desk)
        asked, answer = _question(desk, run)
        assert asked.after is not None, "a question is about a version"
        before = desk.registry.champion()
        if answer is not None and (answer.event == "rejected" or _moved_since(desk, answer, asked.after)):
            raise _late(run, answer)
        if before != asked.after:
            check_expected(desk, asked.after, before, asked.before)
            if answer is None:
                desk.record("approved", "promote", before, asked.after, reasons=(reason,), run=run)
            move(desk, hold, "promote", before, asked.after, approved_reasons(desk.who, reason, asked.reasons), run=run)
    return Answer(_promotion("promote", (reason,), asked, asked.after), asked.flow_run)


def reject(desk: Desk, run: str, reason: str) -> Answer:
    """Hold the version that `run` asked about. Raises RegistryError if the run does not wait."""
    with desk.lock():
        settle(desk)
        asked, answer = _question(desk, run)
        if answer is not None:
            raise _late(run, answer)
        reject_version(desk, asked, (reason,), desk.who)
        champion = desk.registry.champion()
    return Answer(_promotion("hold", (reason,), asked, champion), asked.flow_run)


def approved_reasons(who: str, reason: str, reasons: tuple[str, ...]) -> tuple[str, ...]:
    """Why an approved version was promoted: the person's word, then what the gate said."""
    return (f"approved by {who or 'somebody'}: {reason}", *reasons)


def _question(desk: Desk, run: str) -> tuple[AuditRecord, AuditRecord | None]:
    records = desk.trail()
    asked = [one for one in records if one.event == "waits" and one.run == run]
    if not asked:
        waiting = ", ".join(one.run for one in open_questions(records)) or "none"
        raise RegistryError(f"run {run} does not wait for approval; waiting: {waiting}")
    return asked[-1], answer_to(records, asked[-1])


def _moved_since(desk: Desk, answer: AuditRecord, version: str) -> bool:
    """Whether the move that was approved is over, and the alias has gone on from there."""
    records = desk.trail()
    later = records[records.index(answer) :]
    done = any(one.event == "done" and one.after == version for one in later)
    return done and desk.registry.champion() != version


def _late(run: str, answer: AuditRecord) -> RegistryError:
    said = "; ".join(answer.reasons)
    return RegistryError(
        f"run {run} does not wait for approval: it was {answer.event} by {answer.who or 'somebody'} "
        f"at {answer.time} ({said}); run the experiment again to ask anew about another version"
    )


def _promotion(verdict: Outcome, reasons: tuple[str, ...], asked: AuditRecord, after: str | None) -> Promotion:
    assert asked.after is not None, "a question is about a version"
    return Promotion(
        verdict=verdict, reasons=reasons, challenger=asked.after, champion_before=asked.before, champion_after=after
    )
