"""ScienceQA-layout questions about scenes, and a few about the world in words alone.

A question never names a held-out pair unless its scene holds it, neither as asked object nor as a wrong choice that
would complete one: text alone cannot teach that those pairs do not occur.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from model.questions import Problem
from tasks.world.captions import captions, clear_relations
from tasks.world.knowledge import KNOWLEDGE, Quiz
from tasks.world.scene import COLOURS, HELD_OUT, QUADRANTS, SHAPES, TRAINING_PAIRS, Scene, Thing
from tasks.world.words import NUMBERS, OPPOSITES, counted, name_of, with_article

Evidence = Literal["image", "hint", "none"]
UNSEEN = "unseen pair"
IMAGE_FILE = "image.png"
NEUTRAL_HINTS = ("Look at the picture.", "The picture shows shapes.")
NEUTRAL_HINT_SHARE = 0.3
"""Part of the image questions that carry a hint as well: in ScienceQA, too, text and image contexts overlap."""


@dataclass(frozen=True)
class Asked:
    """A question about a scene: the quiz, what it asks about, and the captions that settle it without the image."""

    quiz: Quiz
    about: Thing | None
    hints: tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """How a topic stands in ScienceQA's tables."""

    subject: str
    category: str
    skill: str
    lecture: str
    lowest_grade: int
    highest_grade: int


_NATURAL, _SOCIAL, _LANGUAGE = "natural science", "social science", "language science"
SCENE_TOPICS: dict[str, Topic] = {
    "colour": Topic(_NATURAL, "Light", "Name the colour", "A colour is what light an object sends back.", 1, 8),
    "shape": Topic(_NATURAL, "Figures", "Name the shape", "A shape is the outline of an object.", 1, 8),
    "count": Topic(_NATURAL, "Counting", "Count objects", "To count is to say one number for each object.", 1, 6),
    "position": Topic(_SOCIAL, "Maps", "Read a place", "A place is top or bottom and left or right.", 3, 12),
    "presence": Topic(_NATURAL, "Observation", "Find an object", "To observe is to say what is there.", 2, 12),
    "colours": Topic(_NATURAL, "Light", "Find a colour", "To observe is to say what is there.", 1, 6),
    "corner": Topic(_SOCIAL, "Maps", "Look up a place", "A place is top or bottom and left or right.", 2, 10),
    "relation": Topic(_SOCIAL, "Maps", "Compare places", "One object is left, right, above or below another.", 5, 12),
}
TEXT_TOPICS: dict[str, Topic] = {
    "words": Topic(_LANGUAGE, "Words", "Know words", "A word is made of letters and has a meaning.", 1, 12),
    "numbers": Topic(_NATURAL, "Counting", "Compare numbers", "Numbers have an order.", 1, 8),
    "figures": Topic(_NATURAL, "Figures", "Know shapes", "Shapes differ in their sides and corners.", 1, 10),
    "directions": Topic(_SOCIAL, "Maps", "Know directions", "Each direction has an opposite.", 2, 12),
}
TOPICS: dict[str, Topic] = SCENE_TOPICS | TEXT_TOPICS


def make_problem(scene: Scene, topic: str, rng: random.Random, evidence: Evidence) -> Problem | None:
    """A question of a topic, answerable by the evidence and by nothing less; None if the scene does not admit it.

    "none" takes the text topics, which ignore the scene; "image" and "hint" take the scene topics. The right choice
    is at any place with equal probability. In a scene with held-out pairs the question asks about one of those.
    """
    if evidence == "none":
        return _problem(topic, KNOWLEDGE[topic](rng), rng) if topic in TEXT_TOPICS else None
    if topic not in SCENE_TOPICS:
        return None
    asked = _ASKING[topic](scene, rng)
    if asked is None:
        return None
    skill = UNSEEN if asked.about is not None and asked.about.held_out else None
    if evidence == "hint":
        return _problem(topic, asked.quiz, rng, hint=rng.choice(asked.hints), skill=skill)
    hint = rng.choice(NEUTRAL_HINTS) if rng.random() < NEUTRAL_HINT_SHARE else ""
    return _problem(topic, asked.quiz, rng, hint=hint, image=IMAGE_FILE, skill=skill)


def _problem(
    topic: str, quiz: Quiz, rng: random.Random, *, hint: str = "", image: str | None = None,
    skill: str | None = None,
) -> Problem:
    about = TOPICS[topic]
    choices = [quiz.right, *quiz.wrong]
    rng.shuffle(choices)
    return Problem(
        question=quiz.question,
        choices=tuple(choices),
        answer=choices.index(quiz.right),
        hint=hint,
        image=image,
        task="closed choice",
        grade=f"grade{rng.randint(about.lowest_grade, about.highest_grade)}",
        subject=about.subject,
        topic=topic,
        category=about.category,
        skill=skill or about.skill,
        lecture=about.lecture,
        solution=quiz.solution,
    )


def _candidates(things: Sequence[Thing]) -> list[Thing]:
    """The held-out things if there are any, else all."""
    return [thing for thing in things if thing.held_out] or list(things)


def _colour(scene: Scene, rng: random.Random) -> Asked | None:
    alone = [t for t in _candidates(scene.things) if sum(other.shape == t.shape for other in scene.things) == 1]
    if not alone:
        return None
    thing = rng.choice(alone)
    allowed = [c for c in COLOURS if c != thing.colour and (c, thing.shape) not in HELD_OUT]
    wrong = _distractors(rng, allowed, [other.colour for other in scene.things], 3)
    quiz = Quiz(f"What colour is the {thing.shape}?", thing.colour, wrong, f"The {thing.shape} is {thing.colour}.")
    return Asked(quiz, thing, _naming(scene, thing))


def _shape(scene: Scene, rng: random.Random) -> Asked | None:
    alone = [t for t in _candidates(scene.things) if sum(other.colour == t.colour for other in scene.things) == 1]
    if not alone:
        return None
    thing = rng.choice(alone)
    allowed = [s for s in SHAPES if s != thing.shape and (thing.colour, s) not in HELD_OUT]
    wrong = _distractors(rng, allowed, [other.shape for other in scene.things], 2)
    solution = f"The {thing.colour} object is a {thing.shape}."
    quiz = Quiz(f"What shape is the {thing.colour} object?", thing.shape, wrong, solution)
    return Asked(quiz, thing, _naming(scene, thing))


def _count(scene: Scene, rng: random.Random) -> Asked | None:
    number = len(scene.things)
    wrong = tuple(NUMBERS[other] for other in range(1, 5) if other != number)
    verb = "is" if number == 1 else "are"
    solution = f"There {verb} {counted(number, 'object')}."
    enumeration, _, _, counting, _ = captions(scene)
    quiz = Quiz("How many objects are in the picture?", NUMBERS[number], wrong, solution)
    return Asked(quiz, None, (enumeration, counting))


def _position(scene: Scene, rng: random.Random) -> Asked | None:
    thing = rng.choice(_candidates(scene.things))
    wrong = tuple(quadrant for quadrant in QUADRANTS if quadrant != thing.quadrant)
    solution = f"The {name_of(thing)} is in the {thing.quadrant}."
    return Asked(Quiz(f"Where is the {name_of(thing)}?", thing.quadrant, wrong, solution), thing, (captions(scene)[1],))


def _presence(scene: Scene, rng: random.Random) -> Asked | None:
    thing = rng.choice(_candidates(scene.things))
    absent = [pair for pair in TRAINING_PAIRS if pair not in scene.pairs]
    wrong = tuple(" ".join(pair) for pair in rng.sample(absent, 3))
    solution = f"The picture shows {with_article(name_of(thing))}."
    quiz = Quiz("Which of these is in the picture?", name_of(thing), wrong, solution)
    return Asked(quiz, thing, _naming(scene, thing))


def _colours(scene: Scene, rng: random.Random) -> Asked | None:
    if any(thing.held_out for thing in scene.things):
        return None
    thing = rng.choice(scene.things)
    absent = [colour for colour in COLOURS if all(other.colour != colour for other in scene.things)]
    wrong = tuple(rng.sample(absent, min(3, len(absent))))
    solution = f"The picture shows something {thing.colour}."
    quiz = Quiz("Which of these colours is in the picture?", thing.colour, wrong, solution)
    return Asked(quiz, thing, (captions(scene)[0], captions(scene)[1]))


def _corner(scene: Scene, rng: random.Random) -> Asked | None:
    alone = [t for t in _candidates(scene.things) if sum(other.quadrant == t.quadrant for other in scene.things) == 1]
    if not alone:
        return None
    thing = rng.choice(alone)
    allowed = [c for c in COLOURS if c != thing.colour]
    wrong = _distractors(rng, allowed, [other.colour for other in scene.things], 3)
    solution = f"The object in the {thing.quadrant} is {thing.colour}."
    quiz = Quiz(f"What colour is the object in the {thing.quadrant}?", thing.colour, wrong, solution)
    return Asked(quiz, thing, (captions(scene)[1],))


def _relation(scene: Scene, rng: random.Random) -> Asked | None:
    wanted = _candidates(scene.things)
    related = [found for found in clear_relations(scene) if found[0] in wanted]
    if not related:
        return None
    first, word, second = rng.choice(related)
    short, other = word.removesuffix(" of"), OPPOSITES[word].removesuffix(" of")
    either = "left or right of" if word.endswith(" of") else "above or below"
    solution = f"The {name_of(first)} is {word} the {name_of(second)}."
    quiz = Quiz(f"Is the {name_of(first)} {either} the {name_of(second)}?", short, (other,), solution)
    return Asked(quiz, first, (captions(scene)[1],))


_ASKING: dict[str, Callable[[Scene, random.Random], Asked | None]] = {
    "colour": _colour,
    "shape": _shape,
    "count": _count,
    "position": _position,
    "presence": _presence,
    "colours": _colours,
    "corner": _corner,
    "relation": _relation,
}


def _distractors(rng: random.Random, allowed: Sequence[str], in_scene: Sequence[str], count: int) -> tuple[str, ...]:
    """Wrong choices, mostly such as the picture shows elsewhere: naming what is seen anywhere must not suffice."""
    order = rng.sample(list(allowed), len(allowed))
    if rng.random() < 0.7:
        order.sort(key=lambda choice: choice not in in_scene)
    return tuple(order[:count])


def _naming(scene: Scene, thing: Thing) -> tuple[str, ...]:
    """The captions that name a thing by colour and shape."""
    return tuple(caption for caption in captions(scene) if name_of(thing) in caption.lower())
