"""Reading talk about scenes: what a text mentions and what it claims.

Made for the few words and sentence forms of this world. What it does not understand it passes over: a claim that it
returns was made.
"""

from __future__ import annotations

import re

from tasks.world.claims import Claim, CountClaim, Mention, PlaceClaim, RelationClaim, SizeClaim, ThingClaim
from tasks.world.sentence import Entity, Read, Sentence

_SYNONYMS = {
    "big": "large", "huge": "large", "little": "small", "tiny": "small", "upper": "top", "lower": "bottom",
    "under": "below", "beneath": "below", "over": "above", "isn't": "is not", "aren't": "are not", "disc": "circle",
}


def mentions(text: str) -> list[Mention]:
    """The objects that a text speaks of as being there, in order, with what it says of each."""
    found = [entity.about for entity in read(text).entities if not entity.absent]
    return [about for about in found if about.colour or about.shape]


def claims_of(said: Read) -> list[Claim]:
    """What a text that was read claims, without repetitions."""
    made: list[Claim] = []
    for entity in said.entities:
        made += _entity_claims(entity)
    made += [RelationClaim(first.about.kind(), word, second.about.kind()) for first, word, second in said.relations]
    return list(dict.fromkeys(made + said.more))


def plain(text: str) -> str:
    """Lower case, single spaces, hyphens as spaces, synonyms replaced."""
    words = re.sub(r"[\s\-]+", " ", text.lower())
    return re.sub(r"[a-z']+", lambda word: _SYNONYMS.get(word[0], word[0]), words)


def read(text: str) -> Read:
    """Read a text, sentence by sentence."""
    said = Read()
    last: Entity | None = None
    for part in re.split(r"[.!?;\n]+", plain(text).replace("\n", ".")):
        sentence = Sentence(said, last, "background" in part)
        sentence.walk(part)
        last = sentence.recent or last
    return said


def _entity_claims(entity: Entity) -> list[Claim]:
    about = entity.about
    if not (about.colour or about.shape):
        return []
    if entity.absent:
        return [ThingClaim(about.kind(), present=False)]
    made: list[Claim] = [ThingClaim(about.kind())]
    if entity.number is not None:
        made.append(CountClaim(entity.number, about.kind()))
    if about.size:
        made.append(SizeClaim(about.kind(), about.size))
    if about.quadrant:
        made.append(PlaceClaim(about.kind(), about.quadrant))
    return made
