"""What the page does when somebody asks, stops, votes or rates: each handler takes values and returns updates."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from tasks.chat_page.answering import Figures, Running, Step, Wanted, answers
from tasks.chat_page.desk import Desk, pair_of
from tasks.chat_page.endpoint import Trouble
from tasks.chat_page.layout import Parts
from tasks.chat_page.opinions import answer_at, explained, keep, rating, vote
from tasks.chat_page.pictures import Refused, take_in
from tasks.chat_page.talk import Side, Talk, Vote, restored, shown
from tasks.chat_page.words import Words
from tasks.feedback.records import Item

Updates = dict[Any, Any]
Kept = dict[str, Any]
"""What a browser keeps: `user`, `consent`, and `talk`, the conversation as JSON."""


class Handlers:
    """The handlers of one page in one language. What a conversation is travels with every call."""

    def __init__(self, words: Words, desk: Desk, parts: Parts) -> None:
        self._words, self._desk, self._parts = words, desk, parts
        self._running = Running()

    # ------------------------------------------------------------------------------------------------ asking

    async def take(self, typed: Mapping[str, Any] | None, talk: Talk | None, mode: str, model: str | None) -> Updates:
        """Take up a question: its images are checked, and it is shown. What cannot be taken stays in the box."""
        typed = typed or {}
        files, text = [str(file) for file in typed.get("files") or []], str(typed.get("text") or "").strip()
        if not files and not text:
            return {self._parts.asking: False}
        try:
            now = await self._begun(talk, mode, model)
            images = self._taken(files, now)
        except _Sorry as sorry:
            return self._apology(sorry) | {self._parts.asking: False}
        question = text or self._words("describe")
        for number, side in enumerate(now.sides):
            now = now.with_side(number, side.with_question(question, images))
        return self._shown(now, waiting=True) | {
            self._parts.talk: now, self._parts.box: _busy(clear=True), self._parts.panel: gr.update(visible=False),
            self._parts.rated: None, self._parts.status: self._words("working"), self._parts.asking: True,
        }

    async def example(self, talk: Talk | None, mode: str, model: str | None, data: gr.SelectData) -> Updates:
        """Take up the question of an example."""
        chosen = self._desk.examples[_place(data.index)]
        return await self.take({"text": chosen.question, "files": [str(chosen.image)]}, talk, mode, model)

    async def reply(
        self, asking: bool | None, talk: Talk | None, kept: Kept, temperature: float, length: float,
        request: gr.Request,
    ) -> AsyncIterator[Updates]:
        """Answer the open question of every side, growing."""
        if not asking or talk is None or not any(side.messages and side.messages[-1].role == "user" for side in talk.sides):
            yield {self._parts.asking: False}
            return
        troubles: dict[int, str] = {}
        figures: list[Figures] = []
        wanted, session = Wanted(temperature, int(length)), str(request.session_hash)
        async for step in answers(self._desk, talk, wanted, self._running, session):
            talk = talk.with_side(step.number, step.side)
            self._note(step, troubles, figures)
            yield {self._parts.talk: talk, **self._shown(talk, waiting=True, troubles=troubles)}
        if len(figures) + len(troubles) < len(talk.sides):
            troubles |= {number: self._words("stopped") for number in range(len(talk.sides)) if number not in troubles}
        status = " ".join(dict.fromkeys(troubles.values())) or self._told(talk, figures)
        yield {
            self._parts.talk: talk, **self._shown(talk, troubles=troubles), self._parts.status: status,
            self._parts.kept: _with_talk(kept, talk),
        }

    def rest(self) -> Updates:
        """The box as it is while nothing is answered."""
        return {self._parts.box: gr.update(submit_btn=True, stop_btn=False)}

    async def stop(self, request: gr.Request) -> None:
        """Hang up on the answers under way; what was said so far stays, and a question without any may be retried."""
        self._running.stop(str(request.session_hash))

    def again(self, talk: Talk | None, model: str | None, data: gr.RetryData) -> Updates:
        """Ask the last question once more, of the model that is chosen now."""
        talk = talk or Talk()
        for number, side in enumerate(talk.sides):
            asked = max((place for place, one in enumerate(side.messages) if one.role == "user"), default=-1)
            again = side.up_to(asked + 1)
            talk = talk.with_side(number, again if talk.compared else again.model_copy(update={"model": model or ""}))
        return self._asking(talk)

    def edited(self, talk: Talk | None, model: str | None, data: gr.EditData) -> Updates:
        """Ask an earlier question in other words; what came after it goes."""
        talk, place = talk or Talk(), _place(data.index)
        text, asked = _text_of(data.value), talk.sides[0].messages[place : place + 1]
        if not text or not asked or asked[0].role != "user":
            return {self._parts.asking: False, **self._shown(talk)}
        for number, side in enumerate(talk.sides):
            chosen = side.model if talk.compared else model or side.model
            before = Side(model=chosen, messages=side.messages[:place])
            talk = talk.with_side(number, before.with_question(text, asked[0].images))
        return self._asking(talk)

    # ------------------------------------------------------------------------------------------------ around

    def fresh(self, mode: str, kept: Kept) -> Updates:
        """An empty conversation in a mode."""
        compared = mode == "compare"
        talk = Talk(sides=(Side(), Side())) if compared else Talk()
        label = self._words("side_a" if compared else "answer")
        first, second = self._parts.chats
        cleared = gr.update(value=[], label=label, elem_classes=["compared"] if compared else [])
        return {
            self._parts.talk: talk, first: cleared, second: [], self._parts.kept: _with_talk(kept, talk),
            self._parts.other_column: gr.update(visible=compared), self._parts.votes: gr.update(visible=compared),
            self._parts.model: gr.update(visible=not compared), self._parts.panel: gr.update(visible=False),
            self._parts.vote_note: self._words("vote_ask"), self._parts.rated: None,
            **{button: gr.update(interactive=False) for button in self._parts.vote_buttons},
        }

    async def opened(self, kept: Kept | None, request: gr.Request) -> Updates:
        """The page as it is first shown: the conversation that the browser kept, and which models there are."""
        kept = self._known(kept or {}, request.username or "")
        talk = restored(kept.get("talk"), self._desk.uploads.path)
        updates = await self.looked(None, None)
        return updates | self._shown(talk, troubles={0: self._words("stopped")}) | {
            self._parts.talk: talk, self._parts.kept: kept, self._parts.consent: bool(kept.get("consent")),
            self._parts.you: self._words("you", user=kept["user"]),
        }

    async def looked(self, ready: bool | None, chosen: str | None) -> Updates:
        """Whether the endpoint answers, and with which models. Says something only when that has changed."""
        try:
            models = await self._desk.endpoint.models()
        except Trouble:
            gone = {self._parts.status: self._words("gone")} if ready is not False else {}
            return {self._parts.ready: False, **gone}
        value = chosen if chosen in models else next(iter(models), None)
        told = self._words("back") if ready is False else self._words("ready", models=", ".join(models))
        changed = {self._parts.status: told} if ready is not True else {}
        return {self._parts.ready: True, self._parts.model: gr.update(choices=models, value=value), **changed}

    # ------------------------------------------------------------------------------------------------ feedback

    def voted(self, verdict: Vote, talk: Talk | None, kept: Kept, consent: bool) -> Updates:
        """Keep a vote, and show who was who."""
        talk = talk or Talk()
        if not talk.can_vote():
            return self._apology(_Sorry("vote_first"))
        known = self._known(kept)
        keep(self._desk, vote(self._desk, talk, verdict, str(known["user"]), consent=consent))
        talk = talk.model_copy(update={"vote": verdict})
        a, b = (side.messages[-1].model for side in talk.sides)
        return self._votes(talk) | {
            self._parts.talk: talk, self._parts.vote_note: self._words("revealed", a=a, b=b), self._parts.kept: known,
        }

    def rated(self, talk: Talk | None, kept: Kept, consent: bool, data: gr.LikeData) -> Updates:
        """Keep thumbs up or down at once, and open the panel to say more."""
        talk, place = talk or Talk(), _place(data.index)
        answer = answer_at(talk.sides[0], place)
        if answer is None or talk.compared:
            return {self._parts.panel: gr.update(visible=False)}
        good = data.liked is True or data.liked == "Like"
        known = self._known(kept)
        item = rating(self._desk, talk, place, str(known["user"]), good=good, consent=consent)
        keep(self._desk, item)
        return {
            self._parts.kept: known, self._parts.you: self._words("you", user=known["user"]),
            self._parts.rated: item, self._parts.panel: gr.update(visible=True),
            self._parts.panel_note: self._words("said_good" if good else "said_bad"),
            self._parts.reasons: [], self._parts.words: "", self._parts.correction: answer.text,
        }

    def explained(
        self, item: Item | None, reasons: Sequence[str], words: str, correction: str, consent: bool
    ) -> Updates:
        """Keep what somebody says besides thumbs."""
        if item is not None:
            known = [self._words(f"reason_{reason}") for reason in reasons]
            keep(self._desk, explained(item, known, words, correction, consent=consent))
        return {self._parts.panel: gr.update(visible=False), self._parts.status: self._words("thanks")}

    def consented(self, consent: bool, kept: Kept) -> Updates:
        """Remember consent in the browser."""
        return {self._parts.kept: {**kept, "consent": consent}}

    # ------------------------------------------------------------------------------------------------ within

    def _known(self, kept: Kept, login: str = "") -> Kept:
        """What the browser keeps, with a name for its user: of the login, or one that nobody can guess."""
        return {**kept, "user": login or str(kept.get("user") or f"guest-{self._desk.new_id()}")}

    async def _begun(self, talk: Talk | None, mode: str, model: str | None) -> Talk:
        """The conversation with an id, and with models for its sides."""
        talk = talk if talk is not None and talk.compared == (mode == "compare") else None
        talk = talk or (Talk(sides=(Side(), Side())) if mode == "compare" else Talk())
        if not talk.id:
            talk = talk.model_copy(update={"id": self._desk.new_id()})
        if not talk.compared:
            # Somebody may be faster than the list of models.
            chosen = model or next(iter(await self._models()), "")
            return talk.with_side(0, talk.sides[0].model_copy(update={"model": chosen}))
        return talk if talk.sides[0].model else await self._matched(talk)

    async def _models(self) -> list[str]:
        try:
            return await self._desk.endpoint.models()
        except Trouble as trouble:
            raise _Sorry("error_gone") from trouble

    async def _matched(self, talk: Talk) -> Talk:
        models = await self._models()
        pair = pair_of(models, self._desk.compared)
        if pair is None:
            raise _Sorry("two_needed", models=", ".join(models))
        first, second = reversed(pair) if self._desk.flip() else pair
        named = zip(talk.sides, (first, second), strict=True)
        sides = tuple(side.model_copy(update={"model": name}) for side, name in named)
        return talk.model_copy(update={"sides": sides})

    def _taken(self, files: Sequence[str], talk: Talk) -> list[str]:
        try:
            pictures = [take_in(Path(file), self._desk.limits) for file in files]
        except Refused as refused:
            raise _Sorry(refused.key, **refused.values) from refused
        images = list(dict.fromkeys(picture.sha256 for picture in pictures))
        if (number := len(talk.images() | {*images})) > self._desk.limits.images:
            raise _Sorry("too_many_images", number=number, limit=self._desk.limits.images)
        for picture in pictures:
            self._desk.uploads.keep(picture)
        return images

    def _asking(self, talk: Talk) -> Updates:
        return self._shown(talk, waiting=True) | {
            self._parts.talk: talk, self._parts.box: _busy(clear=False), self._parts.status: self._words("working"),
            self._parts.panel: gr.update(visible=False), self._parts.rated: None, self._parts.asking: True,
        }

    def _shown(self, talk: Talk, *, waiting: bool = False, troubles: Mapping[int, str] | None = None) -> Updates:
        told = troubles or {}
        rows = {
            chat: shown(side, self._desk.uploads.path, told.get(number, "…" if waiting else ""))
            for number, (chat, side) in enumerate(zip(self._parts.chats, talk.sides, strict=False))
        }
        return {**rows, **self._votes(talk)}

    def _votes(self, talk: Talk) -> Updates:
        return {button: gr.update(interactive=talk.can_vote()) for button in self._parts.vote_buttons}

    def _note(self, step: Step, troubles: dict[int, str], figures: list[Figures]) -> None:
        if step.trouble is not None:
            troubles[step.number] = self._words(f"error_{step.trouble.kind}", detail=step.trouble.detail)
        if step.figures is not None:
            figures.append(step.figures)
            if step.side.messages[-1].role == "user":
                troubles[step.number] = self._words("empty_answer")

    def _told(self, talk: Talk, figures: Sequence[Figures]) -> str:
        """Which version answered, and what it took; of a comparison nothing that gives the models away."""
        if talk.compared or not figures:
            return ""
        took = figures[0]
        return self._words("answered", model=took.model, tokens=took.tokens, seconds=f"{took.seconds:.1f}")

    def _apology(self, sorry: _Sorry) -> Updates:
        """Say what is wrong, and change nothing else: an error would cover the conversation."""
        # A warning is shown as HTML, the status is not.
        plain = {name: _escaped(str(value)) for name, value in sorry.values.items()}
        gr.Warning(self._words(sorry.key, **plain), duration=12, title=self._words("title"))
        return {self._parts.status: self._words(sorry.key, **plain)}


class _Sorry(Exception):
    """What was asked cannot be done; the words for it."""

    def __init__(self, key: str, **values: object) -> None:
        super().__init__(key)
        self.key, self.values = key, values


def _busy(*, clear: bool) -> Any:
    """The box while an answer comes."""
    return gr.update(submit_btn=False, stop_btn=True, **({"value": None} if clear else {}))


def _with_talk(kept: Kept, talk: Talk) -> Kept:
    """What the browser keeps, with the conversation: a comparison would tell who is who, so it is not kept."""
    return {**kept, "talk": None if talk.compared else talk.model_dump_json(), "at": int(time.time())}


def _place(index: int | tuple[int, int] | Sequence[int]) -> int:
    return index if isinstance(index, int) else index[0]


def _text_of(value: object) -> str:
    """The words of an edited message, which may come as text or in parts."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        return _text_of(value.get("text", ""))
    if isinstance(value, Sequence):
        return " ".join(filter(None, map(_text_of, value))).strip()
    return ""


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
