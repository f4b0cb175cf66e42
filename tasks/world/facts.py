"""What captions and boxes say about a scene, and whether a claim agrees with it. Text in, text out: no scene, no image.

The scripted teacher and judge stand here: they know no more than a language model would that reads the same prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model.records import Box
from tasks.world.answering import claims
from tasks.world.claims import (
    BackgroundClaim,
    Claim,
    CountClaim,
    Mention,
    PlaceClaim,
    RelationClaim,
    SizeClaim,
    ThingClaim,
)
from tasks.world.reading import claims_of, mentions, read
from tasks.world.scene import (
    ALL_PAIRS,
    LARGE_AREA,
    BackgroundKind,
    Colour,
    Pair,
    Point,
    Quadrant,
    Shape,
    Size,
    quadrant_of,
    relation_of,
)
from tasks.world.words import OPPOSITES

__all__ = [
    "BackgroundClaim", "Claim", "CountClaim", "Facts", "Known", "Mention", "PlaceClaim", "RelationClaim", "SizeClaim",
    "ThingClaim", "check", "claims", "facts_of", "mentions",
]

_PAIR_NAMES: dict[str, Pair] = {" ".join(pair): pair for pair in ALL_PAIRS}
_SIDES = {"left of": "left", "right of": "right", "above": "top", "below": "bottom"}
LEAST_GAP = 0.05
"""Centres nearer than this on an axis are neither left nor right of, above nor below each other."""


@dataclass(frozen=True)
class Known:
    """A thing and what is known of it. `centre` is normalised and comes from a box."""

    colour: Colour
    shape: Shape
    size: Size | None = None
    quadrant: Quadrant | None = None
    centre: Point | None = None

    @property
    def pair(self) -> Pair:
        """Colour and shape."""
        return (self.colour, self.shape)

    def fits(self, about: Mention) -> bool:
        """True if a mention may mean this thing; what either leaves open fits."""
        return all(
            mine is None or theirs is None or mine == theirs
            for mine, theirs in (
                (self.colour, about.colour), (self.shape, about.shape), (self.size, about.size),
                (self.quadrant, about.quadrant),
            )
        )


@dataclass(frozen=True)
class Facts:
    """What is known of a scene. `complete`: no thing is missing from `things`."""

    things: tuple[Known, ...]
    count: int | None
    complete: bool
    background: BackgroundKind | None = None
    relations: frozenset[tuple[Pair, str, Pair]] = frozenset()
    """As stated by captions, both ways round. What boxes or quadrants say is not repeated here."""

    def related(self, first: Known, relation: str, second: Known) -> bool | None:
        """Whether `first` is left of, right of, above or below `second`; None if nothing settles it."""
        if first.centre and second.centre:
            return _by_centres(first.centre, relation, second.centre)
        if (first.pair, relation, second.pair) in self.relations:
            return True
        if (first.pair, OPPOSITES[relation], second.pair) in self.relations:
            return False
        return _by_quadrants(first.quadrant, relation, second.quadrant)


def facts_of(captions: Sequence[str], boxes: Sequence[Box] = ()) -> Facts:
    """What captions and boxes say together.

    With boxes the things are the boxes whose category is a pair of the world ("red circle"), with quadrant and size
    by geometry. Without, they are the pairs that the captions name, with what any caption adds; `complete` then needs
    a caption that states their number.
    """
    stated = [claim for caption in captions for claim in claims_of(read(caption))]
    background = next((claim.kind for claim in stated if isinstance(claim, BackgroundClaim)), None)
    boxed = tuple(known for box in boxes if (known := _from_box(box)))
    if boxed:
        return Facts(boxed, len(boxed), True, background)
    things = _from_mentions([mention for caption in captions for mention in mentions(caption)])
    numbers = [claim.number for claim in stated if isinstance(claim, CountClaim) and claim.about is None]
    count = numbers[0] if numbers else None
    return Facts(things, count, count == len(things), background, _stated_relations(stated))


def check(claim: Claim, facts: Facts) -> bool | None:
    """Whether a claim agrees with the facts; None if they do not settle it."""
    if isinstance(claim, RelationClaim):
        return _check_relation(claim, facts)
    if isinstance(claim, BackgroundClaim):
        return None if facts.background is None else claim.kind == facts.background
    if isinstance(claim, CountClaim):
        return _check_count(claim, facts)
    meant = [thing for thing in facts.things if thing.fits(claim.about)]
    if not meant:
        absent = True if facts.complete else None
        return absent if isinstance(claim, ThingClaim) and not claim.present else (False if absent else None)
    if isinstance(claim, ThingClaim):
        return claim.present
    if isinstance(claim, SizeClaim):
        return _any([None if thing.size is None else thing.size == claim.size for thing in meant])
    return _any([None if thing.quadrant is None else thing.quadrant == claim.quadrant for thing in meant])


def _check_count(claim: CountClaim, facts: Facts) -> bool | None:
    if claim.about is None:
        return None if facts.count is None else claim.number == facts.count
    if not facts.complete:
        return None
    return claim.number == sum(thing.fits(claim.about) for thing in facts.things)


def _check_relation(claim: RelationClaim, facts: Facts) -> bool | None:
    firsts = [thing for thing in facts.things if thing.fits(claim.first)]
    seconds = [thing for thing in facts.things if thing.fits(claim.second)]
    if not firsts or not seconds:
        return False if facts.complete else None
    return _any([
        facts.related(first, claim.relation, second) for first in firsts for second in seconds if first != second
    ])


def _any(verdicts: Sequence[bool | None]) -> bool | None:
    """True if one holds; False if all are known not to hold."""
    if True in verdicts:
        return True
    return None if None in verdicts else False


def _from_box(box: Box) -> Known | None:
    pair = _PAIR_NAMES.get(box.category.lower())
    if pair is None:
        return None
    x1, y1, x2, y2 = box.box
    centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    size: Size = "large" if (x2 - x1) * (y2 - y1) > LARGE_AREA else "small"
    return Known(*pair, size, quadrant_of(*centre), centre)


def _from_mentions(found: Sequence[Mention]) -> tuple[Known, ...]:
    """One thing a pair, in order of first mention."""
    merged: dict[Pair, Known] = {}
    for about in found:
        if about.colour is None or about.shape is None:
            continue
        old = merged.get((about.colour, about.shape), Known(about.colour, about.shape))
        merged[old.pair] = Known(*old.pair, old.size or about.size, old.quadrant or about.quadrant)
    return tuple(merged.values())


def _stated_relations(stated: Sequence[Claim]) -> frozenset[tuple[Pair, str, Pair]]:
    found: set[tuple[Pair, str, Pair]] = set()
    for claim in stated:
        if isinstance(claim, RelationClaim) and (first := _pair(claim.first)) and (second := _pair(claim.second)):
            found |= {(first, claim.relation, second), (second, OPPOSITES[claim.relation], first)}
    return frozenset(found)


def _pair(about: Mention) -> Pair | None:
    return (about.colour, about.shape) if about.colour and about.shape else None


def _by_centres(first: Point, relation: str, second: Point) -> bool | None:
    if relation in relation_of(first, second, LEAST_GAP):
        return True
    return False if OPPOSITES[relation] in relation_of(first, second, LEAST_GAP) else None


def _by_quadrants(first: Quadrant | None, relation: str, second: Quadrant | None) -> bool | None:
    """By row or column of the quadrants; None if both lie in the same."""
    if first is None or second is None:
        return None
    axis = 1 if relation in ("left of", "right of") else 0
    one, other = first.split()[axis], second.split()[axis]
    return None if one == other else one == _SIDES[relation]
