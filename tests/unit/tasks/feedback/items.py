"""Items of feedback, made in one line."""

from __future__ import annotations

import hashlib
from typing import Literal

from tasks.feedback.records import Item, Message, Verdict
from tasks.feedback.store import FeedbackStore, Picture
from tasks.feedback.tables import Database


def fresh_store() -> FeedbackStore:
    """A store in memory of a file that is gone with the test."""
    import tempfile

    return FeedbackStore(Database(f"sqlite:///{tempfile.mkdtemp()}/feedback.db"))


def pixels(name: str) -> Picture:
    """A picture that stands for an image of that name."""
    data = f"pixels of {name}".encode()
    return Picture(hashlib.sha256(data).hexdigest(), "png", data)


def talk(*said: str, image: str | None = "cat", model: str = "llavaflow/3") -> tuple[Message, ...]:
    """Messages in turn, the first with an image."""
    first = (pixels(image).sha256,) if image else ()
    return tuple(
        Message(role="assistant", text=text, model=model) if place % 2
        else Message(role="user", text=text, images=() if place else first)
        for place, text in enumerate(said)
    )  # fmt: skip


def item(
    name: str, *said: str, verdict: Verdict = "good", user: str = "ann", image: str | None = "cat",
    correction: str = "", consent: bool = True, kind: Literal["answer", "vote"] = "answer",
    other: tuple[Message, ...] = (), created: str = "2026-11-22T12:00:00+00:00", conversation: str = "",
) -> Item:
    """An item whose conversation is what was said."""
    return Item(
        id=name, kind=kind, user=user, conversation=conversation or f"talk of {name}", created=created,
        consent=consent, messages=talk(*(said or ("What is it?", f"It is {name}.")), image=image), other=other,
        verdict=verdict, correction=correction,
    )
