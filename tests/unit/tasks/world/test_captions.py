from __future__ import annotations

import re

from tasks.world.captions import captions
from tasks.world.facts import check, claims, facts_of
from tasks.world.scene import COLOURS, SHAPES, make_scene
from tasks.world.testsets import boxes_of

SCENES = [make_scene(7, "train", index, "training") for index in range(200)]
HELD = [make_scene(7, "test", index, "held_out") for index in range(100)]


def test_every_claim_of_a_caption_is_true() -> None:
    for scene in SCENES + HELD:
        truth = facts_of([f"A {scene.background.kind} background."], boxes_of(scene))
        for caption in captions(scene):
            made = claims(caption)
            assert made and all(check(claim, truth) is True for claim in made), (scene, caption)


def test_five_differing_short_sentences() -> None:
    for scene in SCENES:
        written = captions(scene)
        assert len(set(written)) == 5
        assert all(len(text.split()) <= 25 and text[0].isupper() and text.endswith(".") for text in written)


def test_the_same_scene_is_captioned_the_same_way() -> None:
    assert captions(SCENES[0]) == captions(make_scene(7, "train", 0, "training"))


def test_the_first_two_captions_name_every_thing_the_second_with_its_place() -> None:
    for scene in SCENES:
        enumeration, positions, *_ = captions(scene)
        for thing in scene.things:
            assert " ".join(thing.pair) in enumeration.lower()
            assert " ".join(thing.pair) in positions.lower() and thing.quadrant in positions.lower()


def test_the_vocabulary_is_small_and_the_wording_varied() -> None:
    texts = [text for scene in SCENES for text in captions(scene)]
    assert len({word for text in texts for word in re.findall("[a-z]+", text.lower())}) <= 80
    named = re.compile(rf"\b({'|'.join((*COLOURS, *SHAPES))})\b")
    assert len({named.sub("_", text) for text in texts}) > 60
