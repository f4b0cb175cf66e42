from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from model.records import Sample, Turn


def sample(*texts: str, image: str | None = None, roles: tuple[str, ...] = ("human", "gpt")) -> Sample:
    turns = [{"from": roles[at % len(roles)], "value": text} for at, text in enumerate(texts)]
    return Sample.model_validate({"id": "s", "image": image, "kind": "conversation", "conversations": turns})


def test_a_sample_is_written_with_the_field_names_of_the_official_json_and_read_back_equal() -> None:
    written = sample("<image>\nWhat?", "A caf\u00e9 \U0001f600.", image="000001")
    told = json.loads(written.line())
    assert told["conversations"][0] == {"from": "human", "value": "<image>\nWhat?"}
    assert set(told) == {"id", "image", "kind", "conversations"}
    assert "\n" not in written.line()
    assert Sample.model_validate_json(written.line()) == written


def test_a_sample_without_image_names_none() -> None:
    assert "image" not in json.loads(sample("Why?", "So.").line())


@pytest.mark.parametrize(
    ("texts", "roles"),
    [((), ("human", "gpt")), (("a",), ("human", "gpt")), (("a", "b"), ("gpt", "human")), (("a", "b"), ("human",))],
)
def test_turns_alternate_and_end_with_an_answer(texts: tuple[str, ...], roles: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError, match="must alternate"):
        sample(*texts, roles=roles)


@pytest.mark.parametrize(
    ("texts", "image"),
    [
        (("<image>\na", "b"), None),
        (("a", "b"), "1"),
        (("<image><image>a", "b"), "1"),
        (("a", "b", "<image>c", "d"), "1"),
        (("<image>a", "b", "<image>c", "d"), "1"),
    ],
)
def test_image_and_image_token_go_together_in_the_first_turn(texts: tuple[str, ...], image: str | None) -> None:
    with pytest.raises(ValidationError, match="image token"):
        sample(*texts, image=image)


def several(*texts: str, images: tuple[str, ...]) -> Sample:
    turns = [{"from": ("human", "gpt")[at % 2], "value": text} for at, text in enumerate(texts)]
    told = {"id": "s", "image": images[0], "more_images": images[1:], "kind": "given", "conversations": turns}
    return Sample.model_validate(told)


def test_a_sample_of_several_images_has_a_token_for_each_in_whichever_human_turns() -> None:
    written = several("<image>\n<image>\nCompare.", "So.", "And <image>?", "Alike.", images=("a", "b", "c"))
    assert written.images == ("a", "b", "c")
    assert Sample.model_validate_json(written.line()) == written
    for texts in (("<image>\nWhat?", "So."), ("<image><image><image><image>", "So."), ("What?", "<image><image>")):
        with pytest.raises(ValidationError, match="3 image tokens belong in the human turns"):
            several(*texts, images=("a", "b", "c"))
    with pytest.raises(ValidationError, match="more images need a first one"):
        Sample.model_validate({**written.model_dump(by_alias=True), "image": None})


def test_an_answer_may_write_the_image_token_as_words() -> None:
    assert sample("<image>\na", "write <image> in front", image="1").image == "1"


def test_records_cannot_be_changed_and_take_no_unknown_field() -> None:
    turn = Turn(role="human", text="a")
    with pytest.raises(ValidationError):
        turn.text = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Turn.model_validate({"from": "human", "value": "a", "more": 1})
