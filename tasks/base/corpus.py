"""What the micro language model reads: captions, and dialogues whose context is told in words. No image anywhere.

It stands to the micro LLaVA as Vicuna stands to LLaVA: a model that can talk and look things up in its context, so that
training with images only has to teach it to see.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from model.questions import PromptFormat, prompt_of, target_of
from model.records import Sample, Turn
from tasks.world.captions import captions
from tasks.world.questions import SCENE_TOPICS, TEXT_TOPICS, Evidence, make_problem
from tasks.world.scene import Scene, make_scene, seeded

SHARES = {"captions": 10, "told": 20, "questions": 20}
"""Parts of each kind of document among the samples."""
LESSON_SHARE = 0.5
"""Part of all documents that are lessons."""
LOOKUPS = 14
Lesson = tuple[tuple[str, bool], ...]
"""A text in pieces, each supervised or not."""
FORMAT: PromptFormat = "QCM-E"
OPEN_ROUNDS, QUESTION_ROUNDS = 5, 2


def documents(seed: int, count: int) -> Iterator[Sample]:
    """`count` documents, the same for the same seed. A caption document is a sample whose human turn is empty."""
    for index in range(count):
        rng = seeded("corpus", seed, index)
        scene = make_scene(seed, "reading", index, "training")
        kind = rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        turns = _WRITERS[kind](scene, rng)
        yield Sample(id=f"text-{index:06d}", kind="conversation", conversations=tuple(turns))


def lessons(seed: int, count: int) -> Iterator[Lesson]:
    """`count` lessons in looking things up: a scene in one sentence, then key and value of its things many times over.

    Only the values are supervised. Finding a thing in the context is what all later questions need, and it is learnt
    from many look-ups, not from long texts: a dialogue spends some twenty tokens on each, a lesson five.
    """
    for index in range(count):
        rng = seeded("lessons", seed, index)
        scene = make_scene(seed, "lessons", index, "training")
        table = _table(scene)
        pieces: list[tuple[str, bool]] = [(captions(scene)[1], False)]
        for key, value in rng.choices(table, k=LOOKUPS):
            pieces += [(f" {key}:", False), (f" {value}", True), (".", False)]
        yield tuple(pieces)


def _table(scene: Scene) -> list[tuple[str, str]]:
    """What of a thing leads to what else of it, where the key fits one thing alone."""
    entries: list[tuple[str, str]] = []
    for thing in scene.things:
        facts = {"colour": str(thing.colour), "shape": str(thing.shape), "quadrant": str(thing.quadrant)}
        for key, text in facts.items():
            if sum(text in (other.colour, other.shape, other.quadrant) for other in scene.things) == 1:
                entries += [(text, value) for name, value in facts.items() if name != key]
        entries.append((f"{thing.colour} {thing.shape}", thing.quadrant))
    return entries


def _captions(scene: Scene, rng: random.Random) -> list[Turn]:
    return [_human(""), _gpt(" ".join(rng.sample(captions(scene), 5)))]


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


_WRITERS = {"captions": _captions, "told": _told, "questions": _questions}


def _human(text: str) -> Turn:
    return Turn(role="human", text=text)


def _gpt(text: str) -> Turn:
    return Turn(role="gpt", text=text)
