"""Further questions and answers about scenes, beside those of `tasks.world.talk`: what a teacher asks for variety.

Answers are short, of few words, and say nothing that the facts do not settle.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from math import dist

from tasks.world.claims import Mention
from tasks.world.facts import Facts, Known
from tasks.world.knowledge import CORNERS
from tasks.world.scene import QUADRANTS
from tasks.world.talk import Exchange
from tasks.world.words import NUMBERS, counted, listed, sentence, with_article

CLEAR_ORDER = 0.08
"""Centres this far apart on an axis have an order that can be seen."""
CLEARLY_FARTHER = 0.12


def looking(facts: Facts, rng: random.Random, number: int) -> list[Exchange]:
    """Up to `number` differing questions that a look at the picture answers."""
    made = [exchange for ask in rng.sample(_LOOKING, len(_LOOKING)) if (exchange := ask(facts, rng))]
    return made[:number]


def thinking(facts: Facts, rng: random.Random) -> Exchange | None:
    """A question that takes a step of thought over several objects; None if the scene gives rise to none."""
    made = [exchange for ask in _THINKING if (exchange := ask(facts, rng))]
    return rng.choice(made) if made else None


def description(facts: Facts, rng: random.Random) -> str:
    """Two to four sentences that name every thing with its place."""
    verb = "is" if len(facts.things) == 1 else "are"
    number = counted(len(facts.things), "object")
    lines = [rng.choice((f"there {verb} {number} in the picture", f"the picture shows {number}"))]
    things = rng.sample(facts.things, len(facts.things))
    lines += [_placed(things[at : at + 2]) for at in range(0, len(things), 2)]
    if facts.background and rng.random() < 0.5:
        lines.append(f"the background is {facts.background}")
    return " ".join(sentence(line) for line in lines)


def _placed(things: list[Known]) -> str:
    return listed([f"{with_article(_described(thing))} is in the {thing.quadrant}" for thing in things])


def _in_quadrant(facts: Facts, rng: random.Random) -> Exchange | None:
    if any(thing.quadrant is None for thing in facts.things):
        return None
    quadrant = rng.choice(QUADRANTS)
    there = [with_article(name(thing)) for thing in facts.things if thing.quadrant == quadrant]
    question = f"What is in the {quadrant}?"
    if not there:
        return question, f"There is no object in the {quadrant}."
    return question, f"There {'is' if len(there) == 1 else 'are'} {listed(there)} in the {quadrant}."


def _number_of_kind(facts: Facts, rng: random.Random) -> Exchange | None:
    thing = rng.choice(facts.things)
    number = sum(other.fits(Mention(shape=thing.shape)) for other in facts.things)
    verb = "is" if number == 1 else "are"
    return f"How many {thing.shape}s are there?", f"There {verb} {counted(number, thing.shape)}."


def _size(facts: Facts, rng: random.Random) -> Exchange | None:
    sized = [thing for thing in facts.things if thing.size]
    if not sized:
        return None
    thing = rng.choice(sized)
    return f"Is the {name(thing)} large or small?", f"The {name(thing)} is {thing.size}."


def _background(facts: Facts, rng: random.Random) -> Exchange | None:
    if facts.background is None:
        return None
    return "What is the background like?", f"The background is {facts.background}."


_LOOKING: tuple[Callable[[Facts, random.Random], Exchange | None], ...] = (
    _in_quadrant, _number_of_kind, _size, _background,
)


def _first_in_row(facts: Facts, rng: random.Random) -> Exchange | None:
    axis, way = rng.choice(((0, "left to right"), (1, "top to bottom")))
    placed = sorted((thing.centre[axis], name(thing)) for thing in facts.things if thing.centre)
    gaps = [after[0] - before[0] for before, after in pairwise(placed)]
    if len(placed) < max(2, len(facts.things)) or min(gaps) < CLEAR_ORDER:
        return None
    names = [thing for _, thing in placed]
    place, end = rng.choice((("first", names[0]), ("last", names[-1])))
    row = listed([with_article(thing) for thing in names])
    return f"Which object comes {place} from {way}?", f"From {way} there is {row}. The {end} comes {place}."


def _corners(facts: Facts, rng: random.Random) -> Exchange | None:
    shapes = [thing.shape for thing in facts.things]
    total = sum(CORNERS[shape] for shape in shapes)
    # A star has points as well as corners: people count them differently.
    if len(shapes) < 2 or "star" in shapes or not 0 < total < len(NUMBERS):
        return None
    each = [f"the {name(thing)} has {_corner_count(thing)}" for thing in facts.things]
    return (
        "How many corners do all objects have together?",
        f"{sentence(listed(each))} Together they have {counted(total, 'corner')}.",
    )


def _corner_count(thing: Known) -> str:
    number = CORNERS[thing.shape]
    return counted(number, "corner") if number else "no corner"


def _one_more(facts: Facts, rng: random.Random) -> Exchange | None:
    number = len(facts.things)
    verb = "is" if number == 1 else "are"
    question = "How many objects are there if one more is added?"
    return question, f"There {verb} {counted(number, 'object')} now. With one more that makes {NUMBERS[number + 1]}."


def _farthest(facts: Facts, rng: random.Random) -> Exchange | None:
    if len(facts.things) < 3 or any(thing.centre is None for thing in facts.things):
        return None
    start = rng.choice(facts.things)
    near, far = sorted((_distance(start, thing), name(thing)) for thing in facts.things if thing != start)[-2:]
    goal = next(thing for thing in facts.things if name(thing) == far[1])
    if far[0] - near[0] < CLEARLY_FARTHER or goal.quadrant == start.quadrant:
        return None
    return (
        f"Which object is farthest from the {name(start)}?",
        f"The {name(start)} is in the {start.quadrant} and the {far[1]} is in the {goal.quadrant}. "
        f"So the {far[1]} is farthest away.",
    )


_THINKING: tuple[Callable[[Facts, random.Random], Exchange | None], ...] = (
    _first_in_row, _corners, _one_more, _farthest,
)


def name(thing: Known) -> str:
    """Red circle."""
    return f"{thing.colour} {thing.shape}"


def _described(thing: Known) -> str:
    return f"{thing.size} {name(thing)}" if thing.size else name(thing)


def _distance(first: Known, second: Known) -> float:
    return dist(first.centre or (0.0, 0.0), second.centre or (0.0, 0.0))
