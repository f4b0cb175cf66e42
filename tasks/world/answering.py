"""Claims of an answer, where the answer alone may be too short to claim anything: Red. Two. In the top left. No."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from tasks.world.claims import Claim, CountClaim, Mention, PlaceClaim, RelationClaim, ThingClaim
from tasks.world.reading import claims_of, plain, read
from tasks.world.scene import COLOURS, SHAPES, Colour, Shape
from tasks.world.sentence import Read
from tasks.world.words import NUMBERS, RELATIONS, number_of

WAYS = {"left": "left of", "right": "right of", "up": "above", "down": "below"}
_WAY = re.compile(rf"\b({'|'.join(WAYS)})\b")
_ORDER = re.compile(r"\b(left|right|above|below)\b")


def claims(text: str, question: str = "") -> list[Claim]:
    """What an answer claims. With its question, a short answer is completed by what was asked."""
    said = read(text)
    made = claims_of(said)
    if question:
        asked, answer = plain(question), plain(text)
        for form, complete in _FORMS:
            if form.search(asked):
                return list(dict.fromkeys([*complete(_about(question), answer, said), *_beyond(made, answer)]))
    return made


def _beyond(made: list[Claim], answer: str) -> list[Claim]:
    """Claims of the answer's own, less those of single words that only the question gave their meaning."""
    if len(answer.split()) > 4:
        return made
    return [claim for claim in made if not isinstance(claim, ThingClaim) or _is_whole(claim.about)]


def _about(question: str) -> list[Mention]:
    return [entity.about for entity in read(question).entities]


def _told_colour(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """What colour is the circle? Red."""
    found = [word for word in re.findall(r"[a-z]+", answer) if word in COLOURS]
    whole = any(_is_whole(entity.about) for entity in said.entities)
    if not about or not found or whole:
        return []
    return [ThingClaim(replace(about[0], colour=cast("Colour", found[0])).kind(), not _denies(answer))]


def _told_shape(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """What shape is the red object? A circle."""
    found = [word for word in re.findall(r"[a-z]+", answer) if word in SHAPES]
    whole = any(_is_whole(entity.about) for entity in said.entities)
    if not about or not found or whole:
        return []
    return [ThingClaim(replace(about[0], shape=cast("Shape", found[0])).kind(), not _denies(answer))]


def _told_place(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """Where is the red circle? In the top left."""
    if not about or not said.places or said.entities or _denies(answer):
        return []
    return [PlaceClaim(about[0].kind(), said.places[0])]


def _told_number(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """How many circles are there? Two."""
    found = [word for word in re.findall(r"[a-z]+|[0-9]", answer) if word in NUMBERS or word.isdigit()]
    if not found or any(isinstance(claim, CountClaim) for claim in claims_of(said)):
        return []
    kind = about[0].kind() if about else Mention()
    return [CountClaim(number_of(found[0]), kind if kind != Mention() else None)]


def _told_rest(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """How many objects are left without the red circle? Two: so there are three with it."""
    found = re.search(rf"\b({'|'.join(NUMBERS)}|[0-9]|no)\b", answer)
    if not found or any(isinstance(claim, CountClaim) for claim in claims_of(said)):
        return []
    return [CountClaim(1 + (0 if found[1] == "no" else number_of(found[1])))]


def _told_way(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """Which way is it from the circle to the square? Down: so the square is below the circle."""
    found = _WAY.search(answer)
    if len(about) < 2 or not found or said.relations:
        return []
    return [RelationClaim(about[1].kind(), WAYS[found[1]], about[0].kind())]


def _told_order(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """Is the circle left or right of the square? Left."""
    found = _ORDER.search(answer)
    if len(about) < 2 or not found or said.relations:
        return []
    relation = next(word for word in RELATIONS if word.startswith(found[1]))
    return [RelationClaim(about[0].kind(), relation, about[1].kind())]


def _told_presence(about: list[Mention], answer: str, said: Read) -> list[Claim]:
    """Is there a red circle? Yes."""
    first = re.match(r"\s*(yes|no)\b", answer)
    if not about or not first or about[0].kind() == Mention():
        return []
    return [ThingClaim(about[0].kind(), first[1] == "yes")]


def _is_whole(about: Mention) -> bool:
    return about.colour is not None and about.shape is not None


def _denies(answer: str) -> bool:
    return re.search(r"\b(no|not)\b", answer) is not None


_FORMS: tuple[tuple[re.Pattern[str], Callable[[list[Mention], str, Read], list[Claim]]], ...] = (
    (re.compile(r"\b(what|which) colou?r\b"), _told_colour),
    (re.compile(r"\b(what|which) shape\b"), _told_shape),
    (re.compile(r"\bwhere\b"), _told_place),
    (re.compile(r"\bhow many\b.*\bleft without\b"), _told_rest),
    (re.compile(r"\bhow many\b(?!.*\b(left|right|above|below)\b)"), _told_number),
    (re.compile(r"\bwhich way\b"), _told_way),
    (re.compile(r"\b(left or right|right or left|above or below|below or above)\b"), _told_order),
    (re.compile(r"^\s*(is|are) there\b|^\s*do you see\b|^\s*can you see\b"), _told_presence),
)
"""The first form that fits a question says how a short answer to it is to be read."""
