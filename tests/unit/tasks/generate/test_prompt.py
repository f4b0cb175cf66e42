"""Prompts: the published structure, our own files, and a digest that notices every change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from configs.schema import Given, Inputs
from model.records import AnnotatedImage, Box
from tasks.errors import ConfigError
from tasks.generate.kinds import KINDS, AskedKind
from tasks.generate.languages.english import ENGLISH
from tasks.generate.parse import Rejected, parse
from tasks.generate.prompt import (
    FOLDER,
    asking_again,
    context,
    detail_question,
    load_prompts,
    messages_for,
)
from tasks.scripted.context import read_context

DOG = Box(category="dog", box=(0.1, 0.25, 0.33333, 1.0))
IMAGE = AnnotatedImage(
    id="7", part="images/part-00000.tar", span=(0, 0), format="jpg", width=10, height=10, sha256="",
    boxes=(DOG, DOG),
    captions=("A dog runs. ", "A brown\ndog", "A dog runs."),
)


def test_context_is_captions_then_a_blank_line_then_boxes_with_three_decimals() -> None:
    assert context(["A dog.", "Grass."], [DOG]) == "A dog.\nGrass.\n\ndog: [0.100, 0.250, 0.333, 1.000]"
    assert context(["A dog."], []) == "A dog."


@pytest.mark.parametrize("name", ["default", "default_zh"])
@pytest.mark.parametrize("given", ["captions", "captions_and_boxes"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_system_message_speaks_of_what_is_given(name: str, given: Given, kind: AskedKind) -> None:
    prompts = load_prompts(name, Inputs(conversation=given, detail=given, complex=given))
    system, *examples = prompts.before[kind]
    assert ("[x1, y1, x2, y2]" in system.content) == (given == "captions_and_boxes")
    if given == "captions":
        assert not any(": [0." in message.content for message in examples)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_system_then_examples_then_the_image(kind: AskedKind) -> None:
    messages = messages_for(load_prompts("default"), kind, IMAGE)
    roles = [message.role for message in messages]
    assert roles == ["system"] + ["user", "assistant"] * ((len(roles) - 2) // 2) + ["user"]
    assert len(roles) >= 6


def test_only_detail_and_complex_see_boxes() -> None:
    prompts = load_prompts("default")
    seen = {kind: "[0.100" in messages_for(prompts, kind, IMAGE)[-1].content for kind in KINDS}
    assert seen == {"conversation": False, "detail": True, "complex": True}


def test_captions_are_single_lines_without_repetitions() -> None:
    assert messages_for(load_prompts("default"), "conversation", IMAGE)[-1].content == "A dog runs.\nA brown dog"


def test_later_conversations_about_an_image_are_other_requests() -> None:
    prompts, five = load_prompts("default"), IMAGE.model_copy(update={"captions": tuple("abcde")})
    texts = [messages_for(prompts, "conversation", five, turn)[-1].content for turn in range(10)]
    assert texts[0] == "a\nb\nc\nd\ne"
    assert len(set(texts)) == 10
    assert all(sorted(text) == sorted(texts[0]) for text in texts)


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_obey_the_rules_that_replies_are_held_to(kind: AskedKind) -> None:
    examples = load_prompts("default").before[kind][1:]
    for user, assistant in zip(examples[::2], examples[1::2], strict=True):
        given = read_context(user.content)
        assert len(given.captions) == 5
        assert bool(given.boxes) == (kind != "conversation")
        assert user.content == context(given.captions, given.boxes)
        turns = parse(kind, assistant.content, "Describe the picture.")
        assert not isinstance(turns, Rejected), turns


def test_the_digest_follows_every_file(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "default", tmp_path / "mine")
    before = load_prompts("mine", folder=tmp_path).digest
    assert before == load_prompts("default").digest
    shot = tmp_path / "mine" / "detail" / "shot_1_user.txt"
    shot.write_text(shot.read_text("utf-8") + "x", "utf-8")
    assert load_prompts("mine", folder=tmp_path).digest != before


def test_an_unknown_set_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="default"):
        load_prompts("defualt")


@pytest.mark.parametrize("missing", ["complex/system.txt", "detail/shot_0_assistant.txt", "detail_questions.txt"])
def test_a_missing_file_is_named(tmp_path: Path, missing: str) -> None:
    shutil.copytree(FOLDER / "default", tmp_path / "mine")
    (tmp_path / "mine" / missing).unlink()
    with pytest.raises(ConfigError, match=missing.replace(".", r"\.")):
        load_prompts("mine", folder=tmp_path)


def test_detail_questions_are_drawn_by_the_sample_and_all_occur() -> None:
    prompts = load_prompts("default")
    drawn = [detail_question(prompts, f"{number}-detail") for number in range(300)]
    assert set(drawn) == set(prompts.detail_questions)
    assert drawn[5] == detail_question(prompts, "5-detail")


def test_asking_again_tells_the_reason_after_the_reply() -> None:
    messages = messages_for(load_prompts("default"), "complex", IMAGE)
    again = asking_again(messages, "Hm.", ENGLISH.complaint("no question", "it is no question"))
    assert again[: len(messages)] == messages
    assert [message.role for message in again[len(messages) :]] == ["assistant", "user"]
    assert "it is no question" in again[-1].content
