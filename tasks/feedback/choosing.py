"""What can be learned from feedback: samples out of accepted items, and why each other item makes none. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from model.records import IMAGE_TOKEN
from tasks.feedback.records import Item, Message, Stored
from tasks.feedback.screening import findings

PREFIX = "feedback-"


@dataclass(frozen=True)
class Learned:
    """One training sample: a conversation about at most one image."""

    id: str
    image: str | None
    """sha256 of its image."""
    turns: tuple[tuple[str, str], ...]
    """(question, answer), in order."""
    items: tuple[str, ...]
    """The items that it came of, in the order of their ids."""

    def key(self) -> tuple[str | None, tuple[tuple[str, str], ...]]:
        """Two samples of one key say the same: letters' case and spaces set apart."""
        return self.image, tuple((_plain(question), _plain(answer)) for question, answer in self.turns)


@dataclass(frozen=True)
class LeftOut:
    """An item that no sample came of."""

    item: str
    reason: str
    detail: str = ""


@dataclass
class Chosen:
    """The samples, by id, and what was left out."""

    samples: list[Learned] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def by_item(self) -> dict[str, str]:
        """Item to sample."""
        return {item: sample.id for sample in self.samples for item in sample.items}


class _Unfit(ValueError):
    """An item that makes no sample."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def choose(stored: Iterable[Stored]) -> Chosen:
    """Samples of all items that are accepted, with consent, and good to learn from. Equal items in, equal samples out.

    Of what one user said of one answer the last word counts. Of equal samples one is kept, and of a conversation that
    begins another one the longer.
    """
    chosen = Chosen()
    by_id = sorted(stored, key=lambda one: (one.item.created, one.item.id))
    last, superseded = _last_words(by_id)
    chosen.left_out += superseded
    opinions = _opinions(last)
    for one in last:
        try:
            chosen.samples.append(_sample(one, opinions))
        except _Unfit as error:
            chosen.left_out.append(LeftOut(one.item.id, error.reason, error.detail))
    _merge(chosen)
    chosen.samples.sort(key=lambda sample: sample.id)
    chosen.left_out.sort(key=lambda left: left.item)
    return chosen


def learned_side(item: Item) -> tuple[Message, ...]:
    """The conversation whose last answer is good, the correction in its place; empty if none is."""
    side = item.other if item.verdict == "b" else item.messages if item.verdict in ("good", "a") else ()
    if item.correction and item.kind == "answer":
        return (*item.messages[:-1], item.messages[-1].model_copy(update={"text": item.correction}))
    return side


def _last_words(stored: Sequence[Stored]) -> tuple[list[Stored], list[LeftOut]]:
    last: dict[tuple[object, ...], Stored] = {}
    superseded = []
    for one in stored:
        item = one.item
        place = (item.user, item.conversation, item.kind, item.messages)
        if place in last:
            superseded.append(LeftOut(last[place].item.id, "superseded", f"by {item.id}"))
        last[place] = one
    return list(last.values()), superseded


Opinions = Mapping[tuple[str, tuple[Message, ...]], Item]


def _opinions(stored: Iterable[Stored]) -> Opinions:
    """What was said of every answer, by conversation and the messages up to it."""
    return {(one.item.conversation, one.item.messages): one.item for one in stored if one.item.kind == "answer"}


def _sample(stored: Stored, opinions: Opinions) -> Learned:
    _check_may(stored)
    item = stored.item
    side = learned_side(item)
    if not side:
        raise _Unfit("no good answer", f"{item.verdict}, and not corrected")
    images = list(dict.fromkeys(image for message in side for image in message.images))
    if len(images) > 1:
        raise _Unfit("several images", "a training sample shows one")
    if images and not side[0].images:
        raise _Unfit("image came later", "a training sample shows its image in the first turn")
    turns = tuple(_turns(item, side, opinions))
    if any(not question.strip() or not answer.strip() for question, answer in turns):
        raise _Unfit("empty text")
    return Learned(f"{PREFIX}{item.id}", images[0] if images else None, turns, (item.id,))


def _check_may(stored: Stored) -> None:
    item, review = stored.item, stored.review
    if review.state != "accepted":
        raise _Unfit(
            {"new": "not reviewed", "held": "held for personal data"}.get(review.state, "rejected"),
            ", ".join(review.findings) or review.why,
        )
    if not item.consent:
        raise _Unfit("no consent")
    # Accepted in knowledge of what was found then; whatever later rules find besides, nobody has looked at.
    if fresh := [kind for kind in findings(item.texts()) if kind not in review.findings]:
        raise _Unfit("held for personal data", ", ".join(fresh))


def _turns(item: Item, side: Sequence[Message], opinions: Opinions) -> Iterator[tuple[str, str]]:
    """The turns, earlier answers as their user would have them. Raises _Unfit for one that was bad and stayed so."""
    for place in range(0, len(side), 2):
        answer = side[place + 1].text
        earlier = opinions.get((item.conversation, tuple(side[: place + 2])))
        if place + 2 < len(side) and earlier is not None:
            if earlier.correction:
                answer = earlier.correction
            elif earlier.verdict == "bad":
                raise _Unfit("an earlier answer is bad", earlier.id)
        yield _said(side[place].text), _said(answer)


def _said(text: str) -> str:
    """The text, the token that stands for an image taken out of it: only the sample's own may be there."""
    return text.replace(IMAGE_TOKEN, " ").strip()


def _merge(chosen: Chosen) -> None:
    """Drop samples that say what another one says, or begins with; that one then came of their items, too."""
    kept: dict[object, Learned] = {}
    items: dict[str, list[str]] = {}
    for sample in sorted(chosen.samples, key=lambda one: (-len(one.turns), one.id)):
        image, turns = sample.key()
        same = kept.get((image, turns))
        if same is not None:
            reason = "duplicate" if len(same.turns) == len(sample.turns) else "within a longer one"
            chosen.left_out += [LeftOut(item, reason, f"of {same.id}") for item in sample.items]
            items[same.id] += sample.items
            continue
        items[sample.id] = [*sample.items]
        for length in range(1, len(turns) + 1):
            kept.setdefault((image, turns[:length]), sample)
    unlike = {sample.id: sample for sample in kept.values()}
    chosen.samples[:] = [replace(sample, items=tuple(sorted(items[sample.id]))) for sample in unlike.values()]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def digest(samples: Iterable[Learned]) -> str:
    """sha256 over what the samples say and came of."""
    return hashlib.sha256(repr([(one.id, one.image, one.turns, one.items) for one in samples]).encode()).hexdigest()
