"""Questions that words alone answer: about words, numbers, figures and directions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tasks.world.scene import COLOURS, SHAPES
from tasks.world.words import NUMBERS, OPPOSITES


@dataclass(frozen=True)
class Quiz:
    """A question, its right choice, the wrong ones, and a sentence that states the fact."""

    question: str
    right: str
    wrong: tuple[str, ...]
    solution: str


PLACES = ("top", "bottom", "left", "right")
POOL: tuple[str, ...] = (*COLOURS, *SHAPES, "large", "small", *PLACES, "picture", "object", "background", "corner")
CORNERS = {"circle": 0, "triangle": 3, "square": 4, "star": 5}
KNOWN_BY = {
    "circle": "is round", "triangle": "has three corners", "square": "has four corners", "star": "has five points",
}
MIXED = {"orange": ("red", "yellow"), "green": ("blue", "yellow"), "purple": ("red", "blue")}
MAP_SIDES = {"north": "top", "south": "bottom", "east": "right", "west": "left"}
SPOKEN_OPPOSITES = {
    "left": "right", "right": "left", "top": "bottom", "bottom": "top", "above": "below", "below": "above",
    "large": "small", "small": "large",
}


def _words(rng: random.Random) -> Quiz:
    return rng.choice((_kind_of_word, _first_letter, _last_letter, _letters_in, _alphabet, _plural))(rng)


def _kind_of_word(rng: random.Random) -> Quiz:
    kinds: dict[str, Sequence[str]] = {"colour": COLOURS, "shape": SHAPES, "number": NUMBERS[1:], "place": PLACES}
    kind = rng.choice(sorted(kinds))
    right = rng.choice(kinds[kind])
    others = [word for other, words in sorted(kinds.items()) if other != kind for word in words]
    return Quiz(f"Which of these is a {kind}?", right, _some(rng, others, 3), f"The word {right} is a {kind}.")


def _first_letter(rng: random.Random) -> Quiz:
    right = rng.choice(POOL)
    others = [word for word in POOL if word[0] != right[0]]
    end = f"starts with {right[0]}"
    return Quiz(f"Which word {end}?", right, _some(rng, others, 3), f"The word {right} {end}.")


def _last_letter(rng: random.Random) -> Quiz:
    right = rng.choice(POOL)
    others = [word for word in POOL if word[-1] != right[-1]]
    end = f"ends with {right[-1]}"
    return Quiz(f"Which word {end}?", right, _some(rng, others, 3), f"The word {right} {end}.")


def _letters_in(rng: random.Random) -> Quiz:
    word = rng.choice([word for word in POOL if len(word) < len(NUMBERS)])
    solution = f"The word {word} has {{}} letters."
    return _number_quiz(rng, f"How many letters are in the word {word}?", len(word), solution)


def _alphabet(rng: random.Random) -> Quiz:
    first, *others = sorted(rng.sample(sorted(set(POOL)), 4))
    return Quiz("Which word comes first in the alphabet?", first, tuple(others), f"The word {first} comes first.")


def _plural(rng: random.Random) -> Quiz:
    nouns = (*SHAPES, "picture", "object", "corner", "background")
    noun = rng.choice(nouns)
    others = [f"{other}s" for other in nouns if other != noun] + [noun]
    wrong = _some(rng, others, 3)
    return Quiz(f"Which word means more than one {noun}?", f"{noun}s", wrong, f"One {noun}, two {noun}s.")


def _numbers(rng: random.Random) -> Quiz:
    return rng.choice((_next_to, _extreme, _sum, _group))(rng)


def _next_to(rng: random.Random) -> Quiz:
    number, step = rng.randint(2, 8), rng.choice((-1, 1))
    word = "after" if step == 1 else "before"
    solution = f"The number {{}} comes {word} {NUMBERS[number]}."
    return _number_quiz(rng, f"Which number comes {word} {NUMBERS[number]}?", number + step, solution)


def _extreme(rng: random.Random) -> Quiz:
    low, *middle, high = sorted(rng.sample(range(1, len(NUMBERS)), 4))
    right, other, word = rng.choice(((low, high, "smallest"), (high, low, "largest")))
    wrong = tuple(NUMBERS[number] for number in (*middle, other))
    return Quiz(f"Which number is the {word}?", NUMBERS[right], wrong, f"The {word} number is {NUMBERS[right]}.")


def _sum(rng: random.Random) -> Quiz:
    first = rng.randint(1, 8)
    second = rng.randint(1, 9 - first)
    asked = f"{NUMBERS[first]} and {NUMBERS[second]}"
    return _number_quiz(rng, f"How many are {asked}?", first + second, f"{asked.capitalize()} are {{}}.")


def _group(rng: random.Random) -> Quiz:
    shapes = rng.sample(SHAPES, rng.randint(2, 4))
    named = ", ".join(f"a {shape}" for shape in shapes[:-1]) + f" and a {shapes[-1]}"
    return _number_quiz(rng, f"How many objects are {named}?", len(shapes), "They are {} objects.")


def _figures(rng: random.Random) -> Quiz:
    return rng.choice((_corner_count, _by_corners, _mix, _made_of))(rng)


def _corner_count(rng: random.Random) -> Quiz:
    shape = rng.choice(sorted(CORNERS))
    word = "points" if shape == "star" else "corners"
    return _number_quiz(rng, f"How many {word} does a {shape} have?", CORNERS[shape], f"A {shape} has {{}} {word}.")


def _by_corners(rng: random.Random) -> Quiz:
    shape = rng.choice(SHAPES)
    said = KNOWN_BY[shape]
    wrong = [other for other in SHAPES if other != shape]
    return Quiz(f"Which shape {said}?", shape, _some(rng, wrong, rng.choice((2, 3))), f"A {shape} {said}.")


def _mix(rng: random.Random) -> Quiz:
    made = rng.choice(sorted(MIXED))
    first, second = rng.sample(MIXED[made], 2)
    wrong = [colour for colour in COLOURS if colour not in (made, first, second)]
    return Quiz(
        f"Which colour do {first} and {second} make?", made, _some(rng, wrong, rng.choice((2, 3))),
        f"{first.capitalize()} and {second} make {made}.",
    )


def _made_of(rng: random.Random) -> Quiz:
    made = rng.choice(sorted(MIXED))
    first, second = rng.sample(MIXED[made], 2)
    wrong = [colour for colour in COLOURS if colour not in (made, first, second)]
    return Quiz(
        f"Which colour makes {made} with {first}?", second, _some(rng, wrong, rng.choice((2, 3))),
        f"{first.capitalize()} and {second} make {made}.",
    )


def _directions(rng: random.Random) -> Quiz:
    return rng.choice((_opposite, _map_side, _turned_round, _turned_round))(rng)


def _opposite(rng: random.Random) -> Quiz:
    word = rng.choice(sorted(SPOKEN_OPPOSITES))
    right = SPOKEN_OPPOSITES[word]
    others = [other for other in sorted(SPOKEN_OPPOSITES) if other not in (word, right)]
    solution = f"The opposite of {word} is {right}."
    return Quiz(f"Which word is the opposite of {word}?", right, _some(rng, others, 3), solution)


def _map_side(rng: random.Random) -> Quiz:
    wind = rng.choice(sorted(MAP_SIDES))
    right = MAP_SIDES[wind]
    wrong = [side for side in PLACES if side != right]
    wrong_sides = _some(rng, wrong, rng.choice((2, 3)))
    return Quiz(f"Where is {wind} on a map?", right, wrong_sides, f"On a map {wind} is {right}.")


def _turned_round(rng: random.Random) -> Quiz:
    word = rng.choice(sorted(OPPOSITES))
    first, second = rng.sample(SHAPES, 2)
    right = f"{OPPOSITES[word]} the {first}"
    wrong = tuple(f"{other} the {first}" for other in rng.sample(sorted(OPPOSITES), 4) if other != OPPOSITES[word])
    question = f"The {first} is {word} the {second}. Where is the {second}?"
    return Quiz(question, right, wrong, f"The {second} is {right}.")


KNOWLEDGE: dict[str, Callable[[random.Random], Quiz]] = {
    "words": _words,
    "numbers": _numbers,
    "figures": _figures,
    "directions": _directions,
}


def _number_quiz(rng: random.Random, question: str, answer: int, solution: str) -> Quiz:
    others = [number for number in NUMBERS if number != NUMBERS[answer]]
    return Quiz(question, NUMBERS[answer], _some(rng, others, 3), solution.format(NUMBERS[answer]))


def _some(rng: random.Random, words: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(rng.sample(list(words), count))
