"""One item of feedback, what a reviewer decided on it, and the words for both."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from tasks.artifacts import Frozen

Verdict = Literal["good", "bad", "a", "b", "both", "neither"]
State = Literal["new", "held", "accepted", "rejected"]
OF_ANSWERS = ("good", "bad")
OF_VOTES = ("a", "b", "both", "neither")
LONGEST_TEXT = 20_000
"""Characters of a reason or a corrected answer."""


class Message(Frozen):
    """One message of a conversation."""

    role: Literal["user", "assistant"]
    text: str
    images: tuple[str, ...] = ()
    """sha256 of the images that a user sent with it."""
    model: str = ""
    """The version that answered, as its endpoint calls it."""


class Item(Frozen):
    """Feedback on the last answer of a conversation, or a vote between the last answers of two."""

    id: str
    kind: Literal["answer", "vote"]
    user: str
    conversation: str
    created: str
    """UTC, ISO 8601."""
    consent: bool
    """Whether the user lets a model learn from it."""
    messages: tuple[Message, ...]
    """The conversation up to the answer; of a vote, that of side a."""
    other: tuple[Message, ...] = ()
    """Of a vote, the conversation of side b."""
    verdict: Verdict
    reason: str = ""
    correction: str = ""
    """What the answer should have been."""
    trace: str = ""
    """Id of the MLflow trace that holds the same feedback."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.verdict not in (OF_ANSWERS if self.kind == "answer" else OF_VOTES):
            raise ValueError(f"a {self.kind} has no verdict {self.verdict!r}")
        for side in (self.messages, self.other) if self.kind == "vote" else (self.messages,):
            roles = [message.role for message in side]
            if not roles or roles != ["user", "assistant"] * (len(roles) // 2):
                raise ValueError(f"messages alternate user, assistant and end with an answer; got {roles}")
        if max(len(self.reason), len(self.correction)) > LONGEST_TEXT:
            raise ValueError(f"a reason or a correction has at most {LONGEST_TEXT:,} characters")
        return self

    @property
    def images(self) -> frozenset[str]:
        """sha256 of every image that it shows."""
        return frozenset(image for message in (*self.messages, *self.other) for image in message.images)

    @property
    def models(self) -> tuple[str, ...]:
        """The versions whose answers it is about."""
        return tuple(side[-1].model for side in (self.messages, self.other) if side)

    def texts(self) -> tuple[str, ...]:
        """Every text of it that an export could hold."""
        said = [message.text for message in (*self.messages, *self.other)]
        return (*said, *([self.correction] if self.correction else []))


class Review(Frozen):
    """Where an item stands."""

    state: State = "new"
    findings: tuple[str, ...] = ()
    """Kinds of personal data that the screening found."""
    who: str = ""
    when: str = ""
    why: str = ""


class Stored(Frozen):
    """An item with its review."""

    item: Item
    review: Review
