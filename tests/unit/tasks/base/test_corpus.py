from __future__ import annotations

from tasks.base.clip import SIBLINGS, family
from tasks.base.corpus import LOOKUPS, documents, lessons
from tasks.world.captions import captions
from tasks.world.scene import HELD_OUT, make_scene

SEED = 3


def test_documents_are_the_same_for_the_same_seed_and_a_longer_corpus_goes_on_from_a_shorter() -> None:
    assert list(documents(SEED, 12)) == list(documents(SEED, 30))[:12]
    assert list(documents(SEED, 12)) != list(documents(SEED + 1, 12))


def test_documents_show_no_image_and_every_answer_says_something() -> None:
    for sample in documents(SEED, 60):
        assert sample.image is None
        assert all(turn.text.strip() for turn in sample.conversations if turn.role == "gpt")


def test_a_caption_document_is_captions_of_its_scene_without_a_question() -> None:
    told = [(at, sample) for at, sample in enumerate(documents(SEED, 60)) if not sample.conversations[0].text]
    assert told
    for at, sample in told:
        said = captions(make_scene(SEED, "reading", at, "training"))
        assert len(sample.conversations[1].text) == len(" ".join(said))
        assert all(caption in sample.conversations[1].text for caption in said)


def test_lessons_are_the_same_for_the_same_seed() -> None:
    assert list(lessons(SEED, 8)) == list(lessons(SEED, 20))[:8]
    assert list(lessons(SEED, 8)) != list(lessons(SEED + 1, 8))


def test_every_look_up_of_a_lesson_is_true_of_one_thing_of_its_scene() -> None:
    for index, lesson in enumerate(lessons(SEED, 40)):
        scene = make_scene(SEED, "lessons", index, "training")
        assert lesson[0] == (captions(scene)[1], False)
        assert [supervised for _, supervised in lesson[1:]] == [False, True, False] * LOOKUPS
        keys = [text.removesuffix(":").strip() for text, _ in lesson[1::3]]
        values = [text.strip() for text, _ in lesson[2::3]]
        things = [(str(thing.colour), str(thing.shape), str(thing.quadrant)) for thing in scene.things]
        for key, value in zip(keys, values, strict=True):
            fitting = [thing for thing in things if key in (*thing, f"{thing[0]} {thing[1]}")]
            assert len(fitting) == 1, key
            assert value in fitting[0]
            assert value not in key.split()


def test_a_family_differs_in_its_shapes_alone() -> None:
    for index in range(25):
        members = family(SEED, index)
        assert len(members) == SIBLINGS
        assert members == family(SEED, index)
        kin = [member for member in members if member.id.startswith(members[0].id)]
        places = [[(str(thing.colour), str(thing.quadrant)) for thing in member.things] for member in kin]
        assert all(place == places[0] for place in places)
        pairs = [frozenset(member.pairs) for member in kin]
        assert len(set(pairs)) == len(kin)


def test_no_member_of_a_family_shows_a_held_out_pair() -> None:
    for index in range(25):
        assert all(member.pairs.isdisjoint(HELD_OUT) for member in family(SEED, index))
