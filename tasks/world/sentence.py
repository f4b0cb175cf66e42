"""One sentence about a scene, walked through from left to right: which objects it names and what it says of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast, get_args

from tasks.world.claims import BackgroundClaim, Claim, CountClaim, Mention
from tasks.world.scene import COLOURS, SHAPES, SIZES, BackgroundKind, Colour, Quadrant, Shape, Size
from tasks.world.words import NUMBERS, number_of

_COLOUR, _SHAPE, _SIZE, _NUMBER = "|".join(COLOURS), "|".join(SHAPES), "|".join(SIZES), "|".join((*NUMBERS, "[0-9]"))
_CHUNKS = re.compile(
    rf"""
      \b(?P<place>(?:top|bottom)\ (?:left|right))\b
    | \b(?P<relation>(?:left|right)(?:\ side)?\ of|above|below)\b
    | \b(?P<background>{"|".join(get_args(BackgroundKind))})\b
    | \b(?P<all>(?P<all_number>{_NUMBER})\ (?:different\ )?(?:objects?|shapes?|things?)
        (?!\ (?:is|are)\ (?!in\ the\ picture)))\b
    | \b(?P<noun>(?:(?P<number>{_NUMBER})\ )?(?:(?P<size>{_SIZE})\ )?(?:(?P<colour>{_COLOUR})\ )?
        (?P<head>{_SHAPE}|object|thing|shape|one)s?)\b
    | \b(?P<something>something\ (?P<some_colour>{_COLOUR}))\b
    | \b(?P<it>it)\b
    | \b(?P<adjective>{_COLOUR}|{_SIZE})\b
    | \b(?P<be>is|are|was|were|lies|sits)\b
    | \b(?P<no>no|not|without|never)\b
    | (?P<join>\band\b|[,:])
    """,
    re.VERBOSE,
)


@dataclass
class Entity:
    """A mention under construction."""

    about: Mention
    number: int | None = None
    absent: bool = False


Relation = tuple[Entity, str, Entity]


@dataclass
class Read:
    """What a text says: the objects in order of mention, and what it says beyond them."""

    entities: list[Entity] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    more: list[Claim] = field(default_factory=list)
    places: list[Quadrant] = field(default_factory=list)
    """Every place named, attached to an object or not."""


@dataclass
class Sentence:
    """Walks through the chunks of one sentence from left to right."""

    said: Read
    before: Entity | None
    """The last object of the sentences before: what "it" means."""
    on_background: bool
    subject: Entity | None = None
    recent: Entity | None = None
    place: Quadrant | None = None
    """A place that was named before its object: in the top left there is ..."""
    relation: str | None = None
    inverted: tuple[str, Entity] | None = None
    """A relation and its object, named before its subject: above the square is ..."""
    being: bool = False
    negated: bool = False
    described: bool = False
    joined: bool = False

    def walk(self, text: str) -> None:
        """Read the sentence; what it says is added to `said`."""
        for chunk in _CHUNKS.finditer(text):
            _HANDLERS[str(chunk.lastgroup)](self, chunk)

    def _noun(self, chunk: re.Match[str]) -> None:
        head = chunk["head"]
        about = Mention(
            colour=cast("Colour | None", chunk["colour"]),
            shape=cast("Shape", head) if head in SHAPES else None,
            size=cast("Size | None", chunk["size"]),
        )
        number = number_of(chunk["number"]) if chunk["number"] else None
        self._meet(Entity(about, number if number != 1 else None, self.negated))

    def _something(self, chunk: re.Match[str]) -> None:
        self._meet(Entity(Mention(colour=cast("Colour", chunk["some_colour"])), None, self.negated))

    def _it(self, chunk: re.Match[str]) -> None:
        if self.relation and self.subject and self.before:
            self._related(self.before, self.relation)
        else:
            self.subject = self.recent = self.recent or self.before

    def _is_place(self, chunk: re.Match[str]) -> None:
        quadrant = cast("Quadrant", chunk["place"])
        self.said.places.append(quadrant)
        if not self.negated:
            if self.recent is None or self.recent.about.quadrant:
                self.place = quadrant
            else:
                self.recent.about = replace(self.recent.about, quadrant=quadrant)
        self.being = self.negated = self.joined = False

    def _is_relation(self, chunk: re.Match[str]) -> None:
        if not self.being and not self.joined:
            self.subject = self.recent
        self.relation = None if self.negated else chunk["relation"].replace(" side", "")
        self.being = self.negated = self.joined = False

    def _adjective(self, chunk: re.Match[str]) -> None:
        if not self.being or self.subject is None:
            return
        word, about = chunk["adjective"], self.subject.about
        if word in SIZES:
            self._told(replace(about, size=cast("Size", word)), fits=about.size is None, deniable=False)
        else:
            self._told(replace(about, colour=cast("Colour", word)), fits=about.colour is None, deniable=True)
        self.described, self.negated = True, False

    def _be(self, chunk: re.Match[str]) -> None:
        self.being, self.described, self.joined = True, False, False

    def _no(self, chunk: re.Match[str]) -> None:
        self.negated = True

    def _join(self, chunk: re.Match[str]) -> None:
        self.joined, self.negated = True, False

    def _all(self, chunk: re.Match[str]) -> None:
        if not self.negated:
            self.said.more.append(CountClaim(number_of(chunk["all_number"])))

    def _background(self, chunk: re.Match[str]) -> None:
        if self.on_background and not self.negated:
            self.said.more.append(BackgroundClaim(cast("BackgroundKind", chunk["background"])))

    def _told(self, told: Mention, *, fits: bool, deniable: bool) -> None:
        """Take up what a predicate says of the subject; what contradicts it becomes a claim of its own."""
        assert self.subject is not None
        if self.negated:
            if deniable:
                self.said.entities.append(Entity(told, absent=True))
        elif fits:
            self.subject.about = told
        elif told != self.subject.about:
            self.said.entities.append(Entity(told))

    def _meet(self, entity: Entity) -> None:
        """Take up an object: as what the subject is, as the other end of a relation, or as a new subject."""
        if not self._is_predicate(entity):
            self.said.entities.append(entity)
            self.recent = entity
            if self.relation is not None:
                self._related(entity, self.relation)
            else:
                self._new_subject(entity)
        self.being = self.negated = self.joined = False

    def _is_predicate(self, entity: Entity) -> bool:
        """The red object is a circle: one object, told in two parts."""
        if not self.being or self.described or self.subject is None or self.relation or entity.number is not None:
            return False
        merged = _merged(self.subject.about, entity.about)
        if merged is None:
            return False
        if entity.absent:
            self.said.entities.append(Entity(merged, absent=True))
        else:
            self.subject.about = merged
        return True

    def _related(self, entity: Entity, word: str) -> None:
        self.relation = None
        if self.subject is None:
            self.inverted = (word, entity)
        else:
            self.said.relations.append((self.subject, word, entity))

    def _new_subject(self, entity: Entity) -> None:
        self.subject = entity
        if self.inverted is not None:
            word, second = self.inverted
            self.said.relations.append((entity, word, second))
            self.inverted = None
        if self.place is not None and not entity.absent:
            entity.about = replace(entity.about, quadrant=self.place)


def _merged(first: Mention, second: Mention) -> Mention | None:
    """Two descriptions of one object; None if they contradict each other."""
    for name in ("colour", "shape", "size"):
        one, other = getattr(first, name), getattr(second, name)
        if one is not None and other is not None and one != other:
            return None
    return Mention(
        first.colour or second.colour, first.shape or second.shape, first.size or second.size,
        first.quadrant or second.quadrant,
    )


_HANDLERS: dict[str, Callable[[Sentence, re.Match[str]], None]] = {
    "place": Sentence._is_place,
    "relation": Sentence._is_relation,
    "background": Sentence._background,
    "all": Sentence._all,
    "noun": Sentence._noun,
    "something": Sentence._something,
    "it": Sentence._it,
    "adjective": Sentence._adjective,
    "be": Sentence._be,
    "no": Sentence._no,
    "join": Sentence._join,
}
