"""Captions and boxes are told apart as a reader of the prompt would."""

from __future__ import annotations

from model.records import Box
from tasks.generate.prompt import context
from tasks.scripted.context import read_context


def test_what_the_prompt_writes_is_read_back() -> None:
    boxes = (Box(category="red circle", box=(0.1, 0.2, 0.3, 0.4)), Box(category="stop sign", box=(0.0, 0.5, 1.0, 1.0)))
    read = read_context(context(("A red circle.", "One object: it is red."), boxes))
    assert read.captions == ("A red circle.", "One object: it is red.")
    assert read.boxes == boxes


def test_python_lists_and_loose_space_are_boxes_too() -> None:
    assert read_context("dog : [0, 0.5,1.0, 1]").boxes == (Box(category="dog", box=(0.0, 0.5, 1.0, 1.0)),)


def test_a_caption_with_brackets_stays_a_caption() -> None:
    assert read_context("A sign: [0.1, 0.2]\ndog: [a, b, c, d]").boxes == ()


def test_only_a_fully_known_scene_of_the_world_has_facts() -> None:
    known = read_context("A red circle.\nOne object.\n\nred circle: [0.1, 0.1, 0.3, 0.3]").facts()
    assert known is not None and [thing.pair for thing in known.things] == [("red", "circle")]
    assert read_context("A red circle sign on a pole.").facts() is None
    assert read_context("A red circle.\nOne object.\n\nstop sign: [0.1, 0.1, 0.3, 0.3]").facts() is None
    assert read_context("A dog.").facts() is None
