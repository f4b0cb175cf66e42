"""What every handler of the page needs: the words, the desk, the components, and how a conversation is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from tasks.chat_page.desk import Desk
from tasks.chat_page.layout import Parts
from tasks.chat_page.talk import Talk, shown
from tasks.chat_page.words import Words

Updates = dict[Any, Any]
Kept = dict[str, Any]
"""What a browser keeps: `user`, `consent`, and `talk`, the conversation as JSON."""


class Sorry(Exception):
    """What was asked cannot be done; the words for it."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


class Showing:
    """One page in one language. What a conversation is travels with every call."""

    def __init__(self, words: Words, desk: Desk, parts: Parts) -> None:
        self.words, self.desk, self.parts = words, desk, parts

    def asking(self, talk: Talk) -> Updates:
        """The page with a question that is asked now."""
        return self.shown(talk, waiting=True) | {
            self.parts.talk: talk, self.parts.box: busy(clear=False), self.parts.status: self.words("working"),
            self.parts.panel: gr.update(visible=False), self.parts.rated: None, self.parts.asking: True,
        }

    def shown(self, talk: Talk, *, waiting: bool = False, troubles: Mapping[int, str] | None = None) -> Updates:
        """Both sides; `troubles` say by side what stands in the place of an answer."""
        told = troubles or {}
        rows = {
            chat: shown(side, self.desk.uploads.path, told.get(number, "…" if waiting else ""))
            for number, (chat, side) in enumerate(zip(self.parts.chats, talk.sides, strict=False))
        }
        return {**rows, **self.votes(talk)}

    def votes(self, talk: Talk) -> Updates:
        """Whether one can vote."""
        return {button: gr.update(interactive=talk.can_vote()) for button in self.parts.vote_buttons}

    def apology(self, sorry: Sorry) -> Updates:
        """Say what is wrong, and change nothing else: an error would cover the conversation."""
        # A warning is shown as HTML, the status is not.
        plain = {name: escaped(str(value)) for name, value in sorry.values.items()}
        gr.Warning(self.words(sorry.key, **plain), duration=12, title=self.words("title"))
        return {self.parts.status: self.words(sorry.key, **plain)}

    def known(self, kept: Kept, login: str = "") -> Kept:
        """What the browser keeps, with a name for its user: of the login, or one that nobody can guess."""
        return {**kept, "user": login or str(kept.get("user") or f"guest-{self.desk.new_id()}")}


def busy(*, clear: bool) -> Any:
    """The box while an answer comes."""
    return gr.update(submit_btn=False, stop_btn=True, **({"value": None} if clear else {}))


def with_talk(kept: Kept, talk: Talk) -> Kept:
    """What the browser keeps, with the conversation: a comparison would tell who is who, so it is not kept."""
    return {**kept, "talk": None if talk.compared else talk.model_dump_json(), "at": int(time.time())}


def place_of(index: int | tuple[int, int] | Sequence[int]) -> int:
    """The place of a message that an event names."""
    return index if isinstance(index, int) else index[0]


def text_of(value: object) -> str:
    """The words of an edited message, which may come as text or in parts."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return text_of(value.get("text", ""))
    if isinstance(value, Sequence):
        return " ".join(filter(None, map(text_of, value))).strip()
    return ""


def escaped(text: str) -> str:
    """Text as HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
