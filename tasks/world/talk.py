"""Questions and answers of the three LLaVA kinds (conversation, detail, complex), made by rules from facts alone.

Answers are whole sentences of a form that `reading` understands.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations

from tasks.world.answering import WAYS
from tasks.world.claims import Mention
from tasks.world.facts import Facts, Known
from tasks.world.scene import TRAINING_PAIRS
from tasks.world.words import NUMBERS, counted, listed, sentence, with_article

Exchange = tuple[str, str]
"""A question and its answer."""

DETAIL_QUESTIONS = (
    "Describe the picture.",
    "What do you see in the picture?",
    "Describe the picture in detail.",
    "What is this picture about?",
)
_WAYS = {relation: way for way, relation in WAYS.items()}


def conversation(facts: Facts, rng: random.Random, turns: int) -> list[Exchange]:
    """Up to `turns` differing questions about kinds, number and places, each with an answer the facts settle."""
    made: dict[str, str] = {}
    for ask in rng.sample(_CONVERSATION, len(_CONVERSATION)) * 2:
        if len(made) < turns and (exchange := ask(facts, rng)):
            made.setdefault(*exchange)
    return list(made.items())


def detail(facts: Facts, rng: random.Random) -> Exchange:
    """A request to describe the picture, and a description: number, each thing with its place, a relation."""
    parts = [_described(thing) for thing in facts.things]
    verb = "is" if len(parts) == 1 else "are"
    lines = [f"there {verb} {counted(len(parts), 'object')}: {listed(parts)}"]
    if facts.background:
        lines.append(f"the background is {facts.background}")
    if related := _related(facts):
        first, word, second = rng.choice(related)
        lines.append(f"the {_name(first)} is {word} the {_name(second)}")
    return rng.choice(DETAIL_QUESTIONS), " ".join(sentence(line) for line in lines)


def reasoning(facts: Facts, rng: random.Random) -> Exchange:
    """A question that takes a step beyond what is seen, and an answer that gives its reason."""
    made = [exchange for ask in (_taken_away, _which_way, _in_common) if (exchange := ask(facts, rng))]
    return rng.choice(made)


def _colour(facts: Facts, rng: random.Random) -> Exchange | None:
    alone = [thing for thing in facts.things if _matching(facts, Mention(shape=thing.shape)) == 1]
    if not alone:
        return None
    thing = rng.choice(alone)
    return f"What colour is the {thing.shape}?", f"The {thing.shape} is {thing.colour}."


def _shape(facts: Facts, rng: random.Random) -> Exchange | None:
    alone = [thing for thing in facts.things if _matching(facts, Mention(colour=thing.colour)) == 1]
    if not alone:
        return None
    thing = rng.choice(alone)
    return f"What shape is the {thing.colour} object?", f"The {thing.colour} object is a {thing.shape}."


def _corner(facts: Facts, rng: random.Random) -> Exchange | None:
    alone = [t for t in facts.things if t.quadrant and sum(o.quadrant == t.quadrant for o in facts.things) == 1]
    if not alone or not all(thing.quadrant for thing in facts.things):
        return None
    thing = rng.choice(alone)
    place = thing.quadrant
    return f"What colour is the object in the {place}?", f"The object in the {place} is {thing.colour}."


def _count(facts: Facts, rng: random.Random) -> Exchange | None:
    if facts.count is None:
        return None
    verb = "is" if facts.count == 1 else "are"
    return "How many objects are in the picture?", f"There {verb} {counted(facts.count, 'object')}."


def _place(facts: Facts, rng: random.Random) -> Exchange | None:
    placed = [thing for thing in facts.things if thing.quadrant]
    if not placed:
        return None
    thing = rng.choice(placed)
    return f"Where is the {_name(thing)}?", f"The {_name(thing)} is in the {thing.quadrant}."


def _present(facts: Facts, rng: random.Random) -> Exchange | None:
    name = with_article(_name(rng.choice(facts.things)))
    return f"Is there {name} in the picture?", f"Yes, there is {name}."


def _absent(facts: Facts, rng: random.Random) -> Exchange | None:
    if not facts.complete:
        return None
    seen = {thing.pair for thing in facts.things}
    name = " ".join(rng.choice([pair for pair in TRAINING_PAIRS if pair not in seen]))
    return f"Is there {with_article(name)} in the picture?", f"No, there is no {name}."


def _order(facts: Facts, rng: random.Random) -> Exchange | None:
    related = _related(facts)
    if not related:
        return None
    first, word, second = rng.choice(related)
    either = "left or right of" if word.endswith(" of") else "above or below"
    question = f"Is the {_name(first)} {either} the {_name(second)}?"
    return question, f"The {_name(first)} is {word} the {_name(second)}."


_CONVERSATION: tuple[Callable[[Facts, random.Random], Exchange | None], ...] = (
    _colour, _shape, _count, _corner, _place, _present, _absent, _order,
)


def _taken_away(facts: Facts, rng: random.Random) -> Exchange | None:
    thing = rng.choice(facts.things)
    left = len(facts.things) - 1
    verb = "is" if left == 1 else "are"
    now = f"there {'is' if left == 0 else 'are'} {counted(left + 1, 'object')} now"
    spoken = "no object is left" if left == 0 else f"{NUMBERS[left]} {'object' if left == 1 else 'objects'} {verb} left"
    return f"How many objects are left without the {_name(thing)}?", sentence(f"{spoken}, because {now}")


def _which_way(facts: Facts, rng: random.Random) -> Exchange | None:
    related = _related(facts)
    if not related:
        return None
    goal, word, start = rng.choice(related)
    question = f"Which way is it from the {_name(start)} to the {_name(goal)}?"
    return question, f"The way is {_WAYS[word]}, because the {_name(goal)} is {word} the {_name(start)}."


def _in_common(facts: Facts, rng: random.Random) -> Exchange | None:
    if len(facts.things) < 2:
        return None
    question = "Do two objects have the same colour?"
    for first, second in permutations(facts.things, 2):
        if first.colour == second.colour:
            return question, f"Yes, there is {with_article(_name(first))} and {with_article(_name(second))}."
    named = listed([with_article(_name(thing)) for thing in facts.things])
    return question, f"No, each colour is different: there is {named}."


def _related(facts: Facts) -> list[tuple[Known, str, Known]]:
    """Relations between things in different rows or columns."""
    return [
        (first, word, second)
        for first, second in permutations(facts.things, 2)
        for word in _WAYS
        if facts.related(first, word, second) and _apart(first, word, second)
    ]


def _apart(first: Known, word: str, second: Known) -> bool:
    if first.quadrant is None or second.quadrant is None:
        return True
    axis = 1 if word.endswith(" of") else 0
    return first.quadrant.split()[axis] != second.quadrant.split()[axis]


def _matching(facts: Facts, about: Mention) -> int:
    return sum(thing.fits(about) for thing in facts.things)


def _name(thing: Known) -> str:
    return f"{thing.colour} {thing.shape}"


def _described(thing: Known) -> str:
    named = with_article(f"{thing.size} {_name(thing)}" if thing.size else _name(thing))
    return f"{named} in the {thing.quadrant}" if thing.quadrant else named
