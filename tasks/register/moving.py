"""The steps of a move: intent, alias, tags, outcome. Each is durable before the next begins."""

from __future__ import annotations

import uuid

from tasks.errors import RegistryError
from tasks.register.audit import Action
from tasks.register.desk import Desk, named
from tasks.register.lock import Hold
from tasks.register.settle import tag_champion


def move(
    desk: Desk, hold: Hold, action: Action, before: str | None, after: str | None, reasons: tuple[str, ...],
    run: str | None = None,
) -> None:
    """Point the alias to `after`; None takes it away. Needs the lock, whose holder alone gets past the fence.

    Raises RegistryError if the alias is no longer where it was when the move was decided.
    """
    intent = uuid.uuid4().hex
    desk.record("intent", action, before, after, reasons=reasons, intent=intent, run=run)
    with hold.fenced():
        check_expected(desk, after, desk.registry.champion(), before)
        desk.registry.set_champion(after)
    if after is not None:
        tag_champion(desk, action, before, after, reasons)
    desk.record("done", action, before, after, reasons=reasons, intent=intent, run=run)


def check_expected(desk: Desk, version: str | None, champion: str | None, expected: str | None) -> None:
    """Raise RegistryError unless the champion is the one that the decision was made against."""
    if champion != expected:
        raise RegistryError(
            f"{desk.registry.alias} is {named(champion)}, but {named(version)} was compared with {named(expected)}; "
            "run again to compare it with the present one"
        )
