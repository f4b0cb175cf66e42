"""Five captions of a scene, as five people would write them. Every caption is true; only the first two are complete."""

from __future__ import annotations

import random

from tasks.world.scene import Scene, Thing, relation_of, seeded
from tasks.world.words import OPPOSITES, counted, listed, name_of, sentence, with_article

CLEAR_GAP = 0.2
"""Centres in different columns (or rows) are further apart than this: only then a caption says left of or above."""
SIZED_UP_TO = 3


def captions(scene: Scene) -> tuple[str, str, str, str, str]:
    """An enumeration, one with positions, one with a relation, one with the number, and a casual, partial one.

    At most 25 words each, pairwise different, the same for the same scene.
    """
    rng = seeded("captions", scene)
    return (
        _enumeration(scene, rng), _positions(scene, rng), _relation(scene, rng), _count(scene, rng), _casual(scene, rng)
    )


def _enumeration(scene: Scene, rng: random.Random) -> str:
    sized = len(scene.things) <= SIZED_UP_TO
    named = listed([with_article(name_of(thing, sized=sized)) for thing in _shuffled(scene, rng)])
    verb = "is" if len(scene.things) == 1 else "are"
    forms = (named, f"there {verb} {named}", f"this picture shows {named}", f"a picture of {named}")
    return sentence(rng.choice(forms))


def _positions(scene: Scene, rng: random.Random) -> str:
    link = " in the " if len(scene.things) < 3 else " "
    parts = [f"{with_article(name_of(thing))}{link}{thing.quadrant}" for thing in _shuffled(scene, rng)]
    if len(scene.things) == 1 and rng.random() < 0.5:
        return sentence(f"in the {scene.things[0].quadrant} there is {with_article(name_of(scene.things[0]))}")
    return sentence(listed(parts))


def _relation(scene: Scene, rng: random.Random) -> str:
    related = clear_relations(scene)
    if not related:
        thing = rng.choice(scene.things)
        return sentence(f"{with_article(name_of(thing))} on a {scene.background.kind} background")
    first, word, second = rng.choice(related)
    spoken = f"to the {word}" if word in ("left of", "right of") else word
    if rng.random() < 0.5:
        return sentence(f"{with_article(name_of(first))} {spoken} {with_article(name_of(second))}")
    return sentence(f"the {name_of(first)} is {spoken} the {name_of(second)}")


def _count(scene: Scene, rng: random.Random) -> str:
    noun = rng.choice(("object", "shape"))
    number = counted(len(scene.things), noun)
    if rng.random() < 0.5:
        return sentence(f"{number} on a {scene.background.kind} background")
    return sentence(f"{number}: {listed([with_article(name_of(thing)) for thing in _shuffled(scene, rng)])}")


def _casual(scene: Scene, rng: random.Random) -> str:
    thing = rng.choice(scene.things)
    verb = rng.choice(("I see", "you can see", "look at", "here is"))
    seen = rng.choice((with_article(thing.shape), with_article(name_of(thing)), f"something {thing.colour}"))
    more = " and more" if len(scene.things) > 1 and rng.random() < 0.5 else ""
    return sentence(f"{verb} {seen}{more}")


def clear_relations(scene: Scene) -> list[tuple[Thing, str, Thing]]:
    """Ordered pairs of things whose relation leaves no doubt, both ways round."""
    found = []
    for place, first in enumerate(scene.things):
        for second in scene.things[place + 1 :]:
            for word in sorted(relation_of((first.x, first.y), (second.x, second.y), CLEAR_GAP)):
                if _apart(first, second, word):
                    found += [(first, word, second), (second, OPPOSITES[word], first)]
    return found


def _apart(first: Thing, second: Thing, word: str) -> bool:
    """True if the things lie in different columns (left, right) or rows (above, below)."""
    row_or_column = 1 if word in ("left of", "right of") else 0
    return first.quadrant.split()[row_or_column] != second.quadrant.split()[row_or_column]


def _shuffled(scene: Scene, rng: random.Random) -> list[Thing]:
    return rng.sample(scene.things, len(scene.things))
