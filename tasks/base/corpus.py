"""What the micro language model reads: captions, and dialogues whose context is told in words. No image anywhere.

It stands to the micro LLaVA as Vicuna stands to LLaVA: a model that can talk and look things up in its context, so that
training with images only has to teach it to see.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from model.questions import PromptFormat, letter, options, prompt_of, target_of
from model.records import Sample, Turn
from tasks.world.captions import captions
from tasks.world.questions import SCENE_TOPICS, TEXT_TOPICS, Evidence, make_problem
from tasks.world.scene import COLOURS, QUADRANTS, SHAPES, TRAINING_PAIRS, Scene, make_scene, seeded
from tasks.world.words import NUMBERS

SHARES = {"captions": 10, "lookup": 25, "told": 35, "questions": 30}
"""Parts of each kind of document."""
FORMAT: PromptFormat = "QCM-EA"
LOOKUPS, OPEN_ROUNDS, QUESTION_ROUNDS = 16, 5, 2


def documents(seed: int, count: int) -> Iterator[Sample]:
    """`count` documents, the same for the same seed. A caption document is a sample whose human turn is empty."""
    for index in range(count):
        rng = seeded("corpus", seed, index)
        scene = make_scene(seed, "reading", index, "training")
        kind = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        turns = _WRITERS[kind](scene, rng)
        yield Sample(id=f"text-{index:06d}", kind="conversation", conversations=tuple(turns))


def _captions(scene: Scene, rng: random.Random) -> list[Turn]:
    return [_human(""), _gpt(" ".join(rng.sample(captions(scene), 5)))]


def _lookup(scene: Scene, rng: random.Random) -> list[Turn]:
    """Choices and their letters, looked up both ways: what a question with options asks of a reader."""
    choices = rng.sample(_VOCABULARY, rng.randint(2, 5))
    pairs = [f"{choices[at]} is {letter(at)}" for at in rng.choices(range(len(choices)), k=LOOKUPS)]
    return [_human(f"Options: {options(choices)}"), _gpt(f"{'. '.join(pairs)}.")]


def _told(scene: Scene, rng: random.Random) -> list[Turn]:
    """A scene told in words, then open questions about it."""
    told = rng.sample(captions(scene)[:2], rng.randint(1, 2))
    if len(told) == 1:
        told = [captions(scene)[1]]
    turns: list[Turn] = []
    while len(turns) < 2 * OPEN_ROUNDS:
        problem = make_problem(scene, rng.choice(tuple(SCENE_TOPICS)), rng, "image")
        if problem is not None:
            turns += [_human(problem.question), _gpt(problem.solution)]
    turns[0] = _human(" ".join(told) + "\n" + turns[0].text)
    return turns


def _questions(scene: Scene, rng: random.Random) -> list[Turn]:
    """Questions with options: settled by a hint, or by knowledge alone."""
    turns: list[Turn] = []
    while len(turns) < 2 * QUESTION_ROUNDS:
        evidence: Evidence = rng.choice(("hint", "none"))
        topic = rng.choice(tuple(TEXT_TOPICS if evidence == "none" else SCENE_TOPICS))
        problem = make_problem(scene, topic, rng, evidence)
        if problem is not None:
            turns += [_human(prompt_of(problem, FORMAT)), _gpt(target_of(problem, FORMAT))]
    return turns


_WRITERS = {"captions": _captions, "lookup": _lookup, "told": _told, "questions": _questions}
_VOCABULARY = (
    *COLOURS, *SHAPES, *QUADRANTS, *NUMBERS, "left", "right", "above", "below",
    *(f"{colour} {shape}" for colour, shape in TRAINING_PAIRS),
)


def _human(text: str) -> Turn:
    return Turn(role="human", text=text)


def _gpt(text: str) -> Turn:
    return Turn(role="gpt", text=text)
