"""The review of feedback: who accepts or rejects what, and what can be accepted at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from tasks.errors import DataError
from tasks.feedback.records import Review, State, Stored
from tasks.feedback.store import FeedbackStore

LONGEST_SHOWN = 70


@dataclass(frozen=True)
class Reviewer:
    """Who decides, when (UTC, ISO 8601) and why."""

    who: str
    when: str
    why: str = ""


def accept(store: FeedbackStore, ids: Sequence[str], by: Reviewer, *, all_new: bool = False) -> list[Stored]:
    """Accept items by the beginnings of their ids, or all that are new. Returns them as they are now.

    One that is held for personal data is accepted only by its id and with a reason: somebody looked. Raises DataError
    for one without, and for an unknown id; then nothing is changed.
    """
    items = store.items("new") if all_new else [store.named(name) for name in dict.fromkeys(ids)]
    for stored in items:
        if stored.review.findings and not by.why:
            found = ", ".join(stored.review.findings)
            raise DataError(
                f"nothing is accepted: {stored.item.id[:8]} holds personal data ({found}); look at it, and say by "
                "--reason why it may be learned from"
            )
    return _decided(store, items, "accepted", by)


def reject(store: FeedbackStore, ids: Sequence[str], by: Reviewer) -> list[Stored]:
    """Reject items by the beginnings of their ids. Raises DataError without a reason, or for an unknown id."""
    if not by.why:
        raise DataError("nothing is rejected: say why, by --reason")
    return _decided(store, [store.named(name) for name in dict.fromkeys(ids)], "rejected", by)


def _decided(store: FeedbackStore, items: Iterable[Stored], state: str, by: Reviewer) -> list[Stored]:
    changed = [
        Stored(
            item=stored.item,
            review=Review.model_validate(
                {"state": state, "findings": stored.review.findings, "who": by.who, "when": by.when, "why": by.why}
            ),
        )
        for stored in items
    ]
    store.decide({stored.item.id: stored.review for stored in changed})
    return changed


def state_of(word: str) -> State:
    """A state by its name. Raises DataError for a word that is none."""
    try:
        return TypeAdapter[State](State).validate_python(word)
    except ValidationError as error:
        raise DataError(f"{word!r} is no state of feedback; there are: {', '.join(get_args(State))}") from error


def lines(items: Sequence[Stored]) -> list[str]:
    """Items for the terminal, and how many stand where."""
    shown = [_line(stored) for stored in items]
    numbers = Counter(stored.review.state for stored in items)
    total = ", ".join(f"{numbers[state]:,} {state}" for state in ("new", "held", "accepted", "rejected"))
    return [*shown, f"{len(items):,} items: {total}"]


def _line(stored: Stored) -> str:
    item, review = stored.item, stored.review
    said = item.correction or item.messages[-1].text
    parts = [
        item.id[:8], f"{review.state:8}", f"{item.kind} {item.verdict}", "corrected" if item.correction else "",
        "" if item.consent else "no consent", f"[{', '.join(review.findings)}]" if review.findings else "",
        _short(item.messages[-2].text), "->", _short(said), f"({_short(item.reason)})" if item.reason else "",
        f"{review.who}: {_short(review.why)}" if review.why else "",
    ]
    return "  ".join(part for part in parts if part)


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST_SHOWN else f"{flat[: LONGEST_SHOWN - 1]}…"
