"""What the page does when it is opened, begun anew, and while nobody asks."""

from __future__ import annotations

import gradio as gr

from tasks.chat_page.endpoint import Trouble
from tasks.chat_page.showing import Kept, Showing, Updates, with_talk
from tasks.chat_page.talk import Side, Talk, restored


class Visiting(Showing):
    """Coming, going, waiting."""

    def fresh(self, mode: str, kept: Kept) -> Updates:
        """An empty conversation in a mode."""
        compared = mode == "compare"
        talk = Talk(sides=(Side(), Side())) if compared else Talk()
        label = self.words("side_a" if compared else "answer")
        first, second = self.parts.chats
        cleared = gr.update(value=[], label=label, elem_classes=["compared"] if compared else [])
        return {
            self.parts.talk: talk, first: cleared, second: [], self.parts.kept: with_talk(kept, talk),
            self.parts.other_column: gr.update(visible=compared), self.parts.votes: gr.update(visible=compared),
            self.parts.model: gr.update(visible=not compared), self.parts.panel: gr.update(visible=False),
            self.parts.vote_note: self.words("vote_ask"), self.parts.rated: None,
            **{button: gr.update(interactive=False) for button in self.parts.vote_buttons},
        }

    async def opened(self, kept: Kept | None, request: gr.Request) -> Updates:
        """The page as it is first shown: the conversation that the browser kept, and which models there are."""
        kept = self.known(kept or {}, request.username or "")
        talk = restored(kept.get("talk"), self.desk.uploads.path)
        updates = await self.looked(None, None)
        return updates | self.shown(talk, troubles={0: self.words("stopped")}) | {
            self.parts.talk: talk, self.parts.kept: kept, self.parts.consent: bool(kept.get("consent")),
            self.parts.you: self.words("you", user=kept["user"]),
        }

    async def looked(self, ready: bool | None, chosen: str | None) -> Updates:
        """Whether the endpoint answers, and with which models. Says something only when that has changed."""
        try:
            models = await self.desk.endpoint.models()
        except Trouble:
            gone = {self.parts.status: self.words("gone")} if ready is not False else {}
            return {self.parts.ready: False, **gone}
        value = chosen if chosen in models else next(iter(models), None)
        told = self.words("back") if ready is False else self.words("ready", models=", ".join(models))
        changed = {self.parts.status: told} if ready is not True else {}
        return {self.parts.ready: True, self.parts.model: gr.update(choices=models, value=value), **changed}

    def consented(self, consent: bool, kept: Kept) -> Updates:
        """Remember consent in the browser."""
        return {self.parts.kept: {**kept, "consent": consent}}
