"""What the page does when somebody asks: each handler takes values and returns updates of components."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from tasks.chat_page.answering import Figures, Running, Step, Wanted, answers
from tasks.chat_page.desk import Desk, pair_of
from tasks.chat_page.endpoint import Trouble
from tasks.chat_page.layout import Parts
from tasks.chat_page.pictures import Refused, take_in
from tasks.chat_page.showing import Kept, Showing, Sorry, Updates, busy, place_of, text_of, with_talk
from tasks.chat_page.talk import Side, Talk
from tasks.chat_page.words import Words


class Asking(Showing):
    """Questions and their answers."""

    def __init__(self, words: Words, desk: Desk, parts: Parts) -> None:
        super().__init__(words, desk, parts)
        self._running = Running()

    async def take(self, typed: Mapping[str, Any] | None, talk: Talk | None, mode: str, model: str | None) -> Updates:
        """Take up a question: its images are checked, and it is shown. What cannot be taken stays in the box."""
        typed = typed or {}
        files, text = [str(file) for file in typed.get("files") or []], str(typed.get("text") or "").strip()
        if not files and not text:
            return {self.parts.asking: False}
        try:
            now = await self._begun(talk, mode, model)
            images = self._taken(files, now)
        except Sorry as sorry:
            return self.apology(sorry) | {self.parts.asking: False}
        question = text or self.words("describe")
        for number, side in enumerate(now.sides):
            now = now.with_side(number, side.with_question(question, images))
        return self.shown(now, waiting=True) | {
            self.parts.talk: now, self.parts.box: busy(clear=True), self.parts.panel: gr.update(visible=False),
            self.parts.rated: None, self.parts.status: self.words("working"), self.parts.asking: True,
        }

    async def example(self, talk: Talk | None, mode: str, model: str | None, data: gr.SelectData) -> Updates:
        """Take up the question of an example."""
        chosen = self.desk.examples[place_of(data.index)]
        return await self.take({"text": chosen.question, "files": [str(chosen.image)]}, talk, mode, model)

    async def reply(
        self, asking: bool | None, talk: Talk | None, kept: Kept, temperature: float, length: float,
        request: gr.Request,
    ) -> AsyncIterator[Updates]:
        """Answer the open question of every side, growing."""
        if not asking or talk is None or not talk.asked():
            yield {self.parts.asking: False}
            return
        troubles: dict[int, str] = {}
        figures: list[Figures] = []
        wanted, session = Wanted(temperature, int(length)), str(request.session_hash)
        async for step in answers(self.desk, talk, wanted, self._running, session):
            talk = talk.with_side(step.number, step.side)
            self._note(step, troubles, figures)
            yield {self.parts.talk: talk, **self.shown(talk, waiting=True, troubles=troubles)}
        if len(figures) + len(troubles) < len(talk.sides):
            troubles |= {number: self.words("stopped") for number in range(len(talk.sides)) if number not in troubles}
        status = " ".join(dict.fromkeys(troubles.values())) or self._told(talk, figures)
        yield {
            self.parts.talk: talk, **self.shown(talk, troubles=troubles), self.parts.status: status,
            self.parts.kept: with_talk(kept, talk),
        }

    def rest(self) -> Updates:
        """The box as it is while nothing is answered."""
        return {self.parts.box: gr.update(submit_btn=True, stop_btn=False)}

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
        return self.asking(talk)

    def edited(self, talk: Talk | None, model: str | None, data: gr.EditData) -> Updates:
        """Ask an earlier question in other words; what came after it goes."""
        talk, place = talk or Talk(), place_of(data.index)
        text, asked = text_of(data.value), talk.sides[0].messages[place : place + 1]
        if not text or not asked or asked[0].role != "user":
            return {self.parts.asking: False, **self.shown(talk)}
        for number, side in enumerate(talk.sides):
            chosen = side.model if talk.compared else model or side.model
            before = Side(model=chosen, messages=side.messages[:place])
            talk = talk.with_side(number, before.with_question(text, asked[0].images))
        return self.asking(talk)

    async def _begun(self, talk: Talk | None, mode: str, model: str | None) -> Talk:
        """The conversation with an id, and with models for its sides."""
        talk = talk if talk is not None and talk.compared == (mode == "compare") else None
        talk = talk or (Talk(sides=(Side(), Side())) if mode == "compare" else Talk())
        if not talk.id:
            talk = talk.model_copy(update={"id": self.desk.new_id()})
        if not talk.compared:
            # Somebody may be faster than the list of models.
            chosen = model or next(iter(await self._models()), "")
            return talk.with_side(0, talk.sides[0].model_copy(update={"model": chosen}))
        return talk if talk.sides[0].model else await self._matched(talk)

    async def _models(self) -> list[str]:
        try:
            return await self.desk.endpoint.models()
        except Trouble as trouble:
            raise Sorry("error_gone") from trouble

    async def _matched(self, talk: Talk) -> Talk:
        models = await self._models()
        pair = pair_of(models, self.desk.compared)
        if pair is None:
            raise Sorry("two_needed", models=", ".join(models))
        first, second = reversed(pair) if self.desk.flip() else pair
        named = zip(talk.sides, (first, second), strict=True)
        sides = tuple(side.model_copy(update={"model": name}) for side, name in named)
        return talk.model_copy(update={"sides": sides})

    def _taken(self, files: Sequence[str], talk: Talk) -> list[str]:
        try:
            pictures = [take_in(Path(file), self.desk.limits) for file in files]
        except Refused as refused:
            raise Sorry(refused.key, **refused.values) from refused
        images = list(dict.fromkeys(picture.sha256 for picture in pictures))
        if (number := len(talk.images() | {*images})) > self.desk.limits.images:
            raise Sorry("too_many_images", number=number, limit=self.desk.limits.images)
        for picture in pictures:
            self.desk.uploads.keep(picture)
        return images

    def _note(self, step: Step, troubles: dict[int, str], figures: list[Figures]) -> None:
        if step.trouble is not None:
            troubles[step.number] = self.words(f"error_{step.trouble.kind}", detail=step.trouble.detail)
        if step.figures is not None:
            figures.append(step.figures)
            if step.side.messages[-1].role == "user":
                troubles[step.number] = self.words("empty_answer")

    def _told(self, talk: Talk, figures: Sequence[Figures]) -> str:
        """Which version answered, and what it took; of a comparison nothing that gives the models away."""
        if talk.compared or not figures:
            return ""
        took = figures[0]
        return self.words("answered", model=took.model, tokens=took.tokens, seconds=f"{took.seconds:.1f}")
