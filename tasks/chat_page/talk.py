"""The state of a conversation on the page: one side, or two that answer the same questions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from tasks.artifacts import Frozen
from tasks.feedback.records import Message

Vote = Literal["a", "b", "both", "neither"]
FindPath = Callable[[str], Path | None]


class Side(Frozen):
    """What was said with one model."""

    model: str = ""
    """What the endpoint is asked for; empty before the first question."""
    messages: tuple[Message, ...] = ()

    def with_question(self, text: str, images: Sequence[str]) -> Side:
        """The side with a question added; one that has no answer yet is replaced."""
        question = Message(role="user", text=text, images=tuple(images))
        return self.model_copy(update={"messages": (*self.answered().messages, question)})

    def with_answer(self, text: str, model: str) -> Side:
        """The side with what its model has said so far of the last question."""
        said = self.messages[:-1] if self.messages and self.messages[-1].role == "assistant" else self.messages
        return self.model_copy(update={"messages": (*said, Message(role="assistant", text=text, model=model))})

    def answered(self) -> Side:
        """The side up to its last answer."""
        open_question = bool(self.messages) and self.messages[-1].role == "user"
        return self.model_copy(update={"messages": self.messages[:-1]}) if open_question else self

    def up_to(self, place: int) -> Side:
        """The side with its first messages only."""
        return self.model_copy(update={"messages": self.messages[:place]})


class Talk(Frozen):
    """A conversation."""

    id: str = ""
    sides: tuple[Side, ...] = (Side(),)
    vote: Vote | None = None

    @property
    def compared(self) -> bool:
        """Whether two models answer."""
        return len(self.sides) == 2

    def with_side(self, number: int, side: Side) -> Talk:
        """The conversation with one side as it is now."""
        sides = [*self.sides]
        sides[number] = side
        return self.model_copy(update={"sides": tuple(sides)})

    def images(self) -> set[str]:
        """sha256 of its images."""
        return {image for side in self.sides for message in side.messages for image in message.images}

    def asked(self) -> bool:
        """Whether a question waits for its answer."""
        return any(side.messages and side.messages[-1].role == "user" for side in self.sides)

    def can_vote(self) -> bool:
        """Whether both sides have answered and nobody has voted."""
        both = all(side.messages and side.messages[-1].role == "assistant" for side in self.sides)
        return self.compared and self.vote is None and both


def restored(kept: object, path: FindPath) -> Talk:
    """A conversation as a browser kept it; an empty one if it is none, or if its images are gone."""
    try:
        talk = Talk.model_validate_json(str(kept))
    except ValidationError:
        return Talk()
    whole = all(path(image) is not None for image in talk.images())
    return talk if whole and len(talk.sides) == 1 else Talk()


def shown(side: Side, path: FindPath, waiting: str = "") -> list[dict[str, Any]]:
    """The messages as the page's chat component takes them, in the same places; `waiting` stands for an answer."""
    rows: list[dict[str, Any]] = []
    for message in side.messages:
        files = [{"path": str(found)} for image in message.images if (found := path(image)) is not None]
        rows.append({"role": message.role, "content": [*files, message.text]})
    if waiting and side.messages and side.messages[-1].role == "user":
        rows.append({"role": "assistant", "content": waiting})
    return rows


def request(side: Side, encoded: Mapping[str, str]) -> list[dict[str, Any]]:
    """The messages as an OpenAI-compatible endpoint takes them; `encoded` holds the images as data URIs."""
    rows: list[dict[str, Any]] = []
    for message in side.messages:
        if not message.images:
            rows.append({"role": message.role, "content": message.text})
            continue
        images = [{"type": "image_url", "image_url": {"url": encoded[image]}} for image in message.images]
        rows.append({"role": message.role, "content": [*images, {"type": "text", "text": message.text}]})
    return rows
