from __future__ import annotations

import random

from tasks.world.captions import captions
from tasks.world.facts import Facts, check, claims, facts_of
from tasks.world.scene import Scene, make_scene
from tasks.world.talk import conversation, detail, reasoning
from tasks.world.testsets import boxes_of

SCENES = [make_scene(7, "train", index, "training") for index in range(80)]


def views(scene: Scene) -> list[Facts]:
    """The facts as a teacher has them with boxes, and from captions alone."""
    return [facts_of(captions(scene), boxes_of(scene)), facts_of(captions(scene))]


def test_every_answer_is_true_and_says_something() -> None:
    for scene in SCENES:
        truth = facts_of(captions(scene), boxes_of(scene))
        rng = random.Random(1)
        for facts in views(scene):
            for question, answer in [*conversation(facts, rng, 5), detail(facts, rng), reasoning(facts, rng)]:
                made = claims(answer, question)
                assert made, (question, answer)
                assert [str(claim) for claim in made if check(claim, truth) is False] == []


def test_a_conversation_has_differing_questions_up_to_the_asked_number() -> None:
    for scene in SCENES:
        turns = conversation(views(scene)[0], random.Random(2), 3)
        assert len(turns) == len({question for question, _ in turns}) == 3


def test_a_description_names_every_thing_with_its_place() -> None:
    for scene in SCENES:
        _, answer = detail(views(scene)[0], random.Random(3))
        assert all(" ".join(thing.pair) in answer and thing.quadrant in answer for thing in scene.things)


def test_the_same_facts_and_seed_give_the_same_talk() -> None:
    facts = views(SCENES[0])[0]
    assert conversation(facts, random.Random(4), 4) == conversation(facts, random.Random(4), 4)
