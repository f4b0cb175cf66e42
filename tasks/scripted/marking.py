"""Marks an answer about a scene: which of its claims hold, whether it answers what was asked, what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tasks.world.answering import claims
from tasks.world.claims import Claim, CountClaim, Mention, PlaceClaim, RelationClaim, ThingClaim
from tasks.world.facts import Facts, Known, check, mentions
from tasks.world.words import NUMBERS

LOWEST, HIGHEST = 1, 10
NOT_TO_THE_POINT = 2
PLACE_PART = 0.4
"""Part of a thing's weight in a description that its place has."""
ANSWER_PART = 0.7
"""Part of the score of a question with one right answer that this answer has; the rest is truth of all that is said."""
UNSETTLED = 0.7
"""Share of the scores that true claims reach in reply to a question that the facts do not settle."""


@dataclass(frozen=True)
class Mark:
    """A score from 1 to 10 and the reasons for it."""

    score: int
    true: tuple[str, ...] = ()
    false: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        parts = [self.note] if self.note else []
        parts += [f"{label}: {'; '.join(said)}" for label, said in self._lists() if said]
        return ". ".join(parts) + "."

    def _lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return (("right", self.true), ("wrong", self.false), ("missing", self.missing))


def mark(question: str, answer: str, facts: Facts) -> Mark:
    """Mark an answer by the facts. Whose answer it is plays no part."""
    if not answer.strip():
        return Mark(LOWEST, note="there is no answer")
    made = claims(answer, question)
    verdicts = {claim: check(claim, facts) for claim in made}
    true = tuple(str(claim) for claim, holds in verdicts.items() if holds)
    false = tuple(str(claim) for claim, holds in verdicts.items() if holds is False)
    if _OPEN.search(question):
        return _described(verdicts, facts, true, false)
    truth = len(true) / (len(true) + len(false)) if true or false else 0.0
    settle = next((settle for form, settle in _SETTLING if form.search(question)), None)
    if settle is None:
        return Mark(_scaled(UNSETTLED * truth), true, false) if true or false else _beside(true, false)
    answered = settle(question, answer, verdicts, facts)
    if answered == "not":
        return _beside(true, false)
    if answered == "unsettled":
        return Mark(_scaled(UNSETTLED), true, false, note="the context does not settle what it answers")
    if answered == "wrong":
        return Mark(_scaled((1 - ANSWER_PART) / 2 * truth), true, false, note="what it answers is wrong")
    rest = truth if true or false else 1.0
    return Mark(_scaled(ANSWER_PART + (1 - ANSWER_PART) * rest), true, false, note="it answers the question rightly")


def _beside(true: tuple[str, ...], false: tuple[str, ...]) -> Mark:
    return Mark(NOT_TO_THE_POINT, true, false, note="nothing in it answers the question")


def _described(
    verdicts: dict[Claim, bool | None], facts: Facts, true: tuple[str, ...], false: tuple[str, ...]
) -> Mark:
    """A description: the harmonic mean of how much of it is true and how much of the scene it covers."""
    held = [claim for claim, holds in verdicts.items() if holds]
    shares, missing = [], []
    for thing in facts.things:
        named = any(isinstance(claim, ThingClaim) and _names(claim.about, thing) for claim in held)
        placed = any(isinstance(claim, PlaceClaim) and _names(claim.about, thing) for claim in held)
        shares.append((1 - PLACE_PART) * named + PLACE_PART * placed)
        if not named:
            missing.append(f"the {thing.colour} {thing.shape}")
        elif not placed:
            missing.append(f"where the {thing.colour} {thing.shape} is")
    if not true and not false:
        return Mark(NOT_TO_THE_POINT, note="nothing in it is about the picture", missing=tuple(missing))
    truth = len(true) / (len(true) + len(false))
    cover = sum(shares) / len(shares)
    return Mark(_scaled(2 * truth * cover / (truth + cover) if truth + cover else 0.0), true, false, tuple(missing))


def _names(about: Mention, thing: Known) -> bool:
    """True if a mention gives colour and shape of just this thing."""
    return (about.colour, about.shape) == thing.pair


def _scaled(share: float) -> int:
    return LOWEST + round((HIGHEST - LOWEST) * share)


# ---------------------------------------------------------------------------------------------------- questions

_OPEN = re.compile(r"\bdescri|\bwhat do you see\b|\b(picture|image) about\b|\btell me\b", re.IGNORECASE)
_FIRST_NUMBER = re.compile(rf"\b({'|'.join(NUMBERS)}|no|\d)\b", re.IGNORECASE)
_YES_NO = re.compile(r"\s*(yes|no)(?=\s*(?:[,.;:!]|$))", re.IGNORECASE)

Verdicts = dict[Claim, bool | None]
Answered = Literal["right", "wrong", "unsettled", "not"]
"""Whether the answer to the very question is right, wrong, not settled by the facts, or not there."""
Settle = Callable[[str, str, Verdicts, Facts], Answered]


def _by_claims(kind: type[Claim]) -> Settle:
    """Right if claims of the kind about what was asked were made and none is false."""

    def settle(question: str, answer: str, verdicts: Verdicts, facts: Facts) -> Answered:
        asked = mentions(question)
        decided = [holds for claim, holds in verdicts.items() if isinstance(claim, kind) and _concerns(claim, asked)]
        if not decided:
            return "not"
        if False in decided:
            return "wrong"
        return "right" if True in decided else "unsettled"

    return settle


def _concerns(claim: Claim, asked: list[Mention]) -> bool:
    """True if a claim may be about one of the things asked about; without any, about everything."""
    if not asked or isinstance(claim, RelationClaim):
        return True
    about = getattr(claim, "about", None)
    return about is not None and any(_compatible(about, mention) for mention in asked)


def _compatible(first: Mention, second: Mention) -> bool:
    pairs = ((first.colour, second.colour), (first.shape, second.shape))
    return all(one is None or other is None or one == other for one, other in pairs)


def _rest(question: str, answer: str, verdicts: Verdicts, facts: Facts) -> Answered:
    """How many objects are left without one of them: the first number said."""
    found = _FIRST_NUMBER.search(answer)
    if found is None or facts.count is None:
        return "not"
    word = found[1].lower()
    said = 0 if word == "no" else int(word) if word.isdigit() else NUMBERS.index(word)
    return "right" if said == facts.count - 1 else "wrong"


def _in_common(question: str, answer: str, verdicts: Verdicts, facts: Facts) -> Answered:
    """Do two objects have the same colour (or shape)? Yes or no."""
    found = _YES_NO.match(answer)
    if found is None:
        return "not"
    values = [thing.colour if "colo" in question.lower() else thing.shape for thing in facts.things]
    return "right" if (found[1].lower() == "yes") == (len(set(values)) < len(values)) else "wrong"


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_SETTLING: tuple[tuple[re.Pattern[str], Settle], ...] = (
    (_form(r"\bthe same (colou?r|shape)\b"), _in_common),
    (_form(r"\bhow many objects\b.*\b(left|remain)\b"), _rest),
    (_form(r"\bhow many\b"), _by_claims(CountClaim)),
    (_form(r"\bwhere\b"), _by_claims(PlaceClaim)),
    (_form(r"\bwhich way\b|\bleft or right\b|\babove or below\b"), _by_claims(RelationClaim)),
    (_form(r"\b(what|which) (colou?r|shape)\b|^\s*(is|are) there\b"), _by_claims(ThingClaim)),
)
