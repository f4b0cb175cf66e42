"""Move the alias `champion`, under a lock and with a precondition, so that every crash leaves it before or after.

MLflow's alias is last-writer-wins and forgets what it was. Here a move is: take the lock, settle what a crash left
behind, check that the champion is the one the gate compared with, write the intent, move, tag, write the outcome.
Started again after a crash at any of these points it ends in exactly one of before and after, and the trail says which.
"""

from __future__ import annotations

from tasks.artifacts import Promotion
from tasks.errors import RegistryError
from tasks.register.approval import approved_reasons, ask
from tasks.register.desk import Desk, named
from tasks.register.lock import Hold
from tasks.register.moving import check_expected, move
from tasks.register.settle import settle
from tasks.register.verdict import Outcome, Verdict

APPROVAL_HOURS = 72.0


def promote(
    desk: Desk, version: str, verdict: Verdict, expected_champion: str | None, hours: float = APPROVAL_HOURS
) -> Promotion:
    """Do what the gate decided: move the alias to `version`, hold and leave it, or ask a person for so many hours.

    `expected_champion` is the version that the gate compared with. Raises RegistryError if the alias points to another
    by now: the verdict says nothing about that one.
    """
    with desk.lock() as hold:
        settle(desk)
        before, outcome, reasons = desk.registry.champion(), verdict.verdict, verdict.sentences()
        if outcome != "hold" and before != version:
            check_expected(desk, version, before, expected_champion)
            outcome, reasons = _allowed(desk, version, before, outcome, reasons, hours)
        elif outcome == "needs_approval":
            outcome = "promote"  # it is the champion already: there is nothing to ask
        if outcome == "hold":
            _hold(desk, version, before, reasons)
        elif outcome == "promote" and before != version:
            move(desk, hold, "promote", before, version, reasons)
        after = desk.registry.champion()
    return Promotion(
        verdict=outcome, reasons=reasons, challenger=version, champion_before=before, champion_after=after
    )


def rollback(desk: Desk, to: str | None = None, reason: str = "") -> Promotion:
    """Point the alias back to the champion before the present one, or to version `to`, by the same steps.

    Raises RegistryError if there is nothing to go back to.
    """
    with desk.lock() as hold:
        settle(desk)
        before = desk.registry.champion()
        target = to or _previous(desk, before)
        if target is None:
            raise RegistryError(f"the trail knows no {desk.registry.alias} before {named(before)}; name one by --to")
        reasons = (reason or f"rolled back from {named(before)}",)
        if target != before:
            move(desk, hold, "rollback", before, target, reasons)
    return Promotion(
        verdict="promote", reasons=reasons, challenger=target, champion_before=before, champion_after=target
    )


def withdraw(desk: Desk, version: str, reason: str) -> Promotion | None:
    """Take back the promotion of a version that does not answer as it was registered, and write an alert.

    The alias goes back to the champion before, or away if there was none. None if the version is not the champion.
    Killed at any point and called again, it ends the same.
    """
    with desk.lock() as hold:
        settle(desk)
        if desk.registry.champion() != version:
            return None
        target, reasons = _previous(desk, version), (reason,)
        if not _alerts(desk, version):
            desk.record("alert", "rollback", version, target, reasons=reasons)
        _back(desk, hold, version, target, reasons)
    return Promotion(
        verdict="hold", reasons=reasons, challenger=version, champion_before=version, champion_after=target
    )


def _back(desk: Desk, hold: Hold, version: str, target: str | None, reasons: tuple[str, ...]) -> None:
    desk.registry.tag(version, {"decision": "hold", "reasons": "\n".join(reasons)})
    move(desk, hold, "rollback", version, target, reasons)


def _allowed(
    desk: Desk, version: str, champion: str | None, outcome: Outcome, reasons: tuple[str, ...], hours: float
) -> tuple[Outcome, tuple[str, ...]]:
    """The outcome once alerts and a person's answer are counted in."""
    if alerts := _alerts(desk, version):
        return "hold", (f"version {version} was rolled back: {alerts[-1]}", *reasons)
    if outcome != "needs_approval":
        return outcome, reasons
    answer = ask(desk, version, champion, reasons, hours)
    if answer is None:
        return "needs_approval", reasons
    said = "; ".join(answer.reasons)
    if answer.event == "rejected":
        return "hold", (f"rejected by {answer.who or 'somebody'}: {said}", *reasons)
    return "promote", approved_reasons(answer.who, said, reasons)


def _alerts(desk: Desk, version: str) -> list[str]:
    """Why a version was taken back by itself."""
    return ["; ".join(one.reasons) for one in desk.trail() if one.event == "alert" and one.before == version]


def _hold(desk: Desk, version: str, champion: str | None, reasons: tuple[str, ...]) -> None:
    desk.registry.tag(version, {"decision": "hold", "reasons": "\n".join(reasons)})
    held = [record for record in desk.trail() if record.event == "held" and record.after == version]
    if not held or (held[-1].before, held[-1].reasons) != (champion, reasons):
        desk.record("held", "promote", champion, version, reasons=reasons)


def _previous(desk: Desk, champion: str | None) -> str | None:
    """The champion that the present one was promoted over; a way back is no promotion."""
    for record in reversed(desk.trail()):
        moved = record.event == "moved" or (record.event == "done" and record.action == "promote")
        if moved and record.after == champion:
            return record.before
    return None
