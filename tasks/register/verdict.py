"""What the gate says: a verdict with every reason, and the rows it compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from configs.schema import GateConfig
from tasks.artifacts import Frozen

Outcome = Literal["promote", "hold", "needs_approval"]


class Reason(Frozen):
    """One check and its result, in a sentence."""

    ok: bool
    check: str
    text: str
    doubt: bool = False
    """The check failed for want of proof alone: what it asks about is neither shown nor ruled out."""


class Compared(Frozen):
    """Challenger against champion in one row of the table, in percent points."""

    name: str
    """As in the flat map of scores."""
    whole: bool
    """The row stands for its benchmark; otherwise it is a category."""
    difference: float
    low: float
    high: float
    n: int
    ok: bool


class Verdict(Frozen):
    """What the gate decided, and why."""

    verdict: Outcome
    reasons: tuple[Reason, ...]
    compared: tuple[Compared, ...] = ()

    def sentences(self) -> tuple[str, ...]:
        """The reasons as text, those that hold the model first."""
        return tuple(reason.text for reason in sorted(self.reasons, key=lambda reason: reason.ok))


def outcome_of(reasons: Sequence[Reason], config: GateConfig, *, same_weights: bool) -> Outcome:
    """What the reasons come to. A person is asked as `gate.approval` says; never about the champion's own weights."""
    failed = [reason for reason in reasons if not reason.ok]
    if any(not reason.doubt for reason in failed):
        return "hold"
    if failed:
        return "hold" if config.approval == "never" else "needs_approval"
    return "needs_approval" if config.approval == "always" and not same_weights else "promote"
