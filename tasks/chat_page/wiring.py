"""Which event of which component calls which handler."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import gradio as gr

from tasks.chat_page.asking import Asking
from tasks.chat_page.desk import Desk
from tasks.chat_page.judging import Judging
from tasks.chat_page.layout import VOTES, Parts, lay_out
from tasks.chat_page.talk import Vote
from tasks.chat_page.visiting import Visiting
from tasks.chat_page.words import Words

AT_ONCE = 64
"""Handlers that may run at the same time."""


def build(words: Words, desk: Desk, secret: str) -> gr.Blocks:
    """The page in one language."""
    blocks: gr.Blocks
    with gr.Blocks(
        title=words("title"), analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True
    ) as blocks:
        parts = lay_out(words, desk, secret)
        _wire_asking(blocks, parts, Asking(words, desk, parts))
        _wire_visiting(blocks, parts, Visiting(words, desk, parts))
        _wire_judging(parts, Judging(words, desk, parts))
    blocks.queue(default_concurrency_limit=AT_ONCE, api_open=False)
    return blocks


def _wire_asking(blocks: gr.Blocks, parts: Parts, handlers: Asking) -> None:
    every: Any = _outputs(parts)
    first = parts.chats[0]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    asked = [parts.asking, parts.talk, parts.kept, parts.temperature, parts.length]
    begins = [
        parts.box.submit(handlers.take, [parts.box, parts.talk, parts.mode, parts.model], every, **quiet),
        first.example_select(handlers.example, [parts.talk, parts.mode, parts.model], every, **quiet),
        first.retry(handlers.again, [parts.talk, parts.model], every, **quiet),
        parts.chats[1].retry(handlers.again, [parts.talk, parts.model], every, **quiet),
        first.edit(handlers.edited, [parts.talk, parts.model], every, **quiet),
    ]
    for begin in begins:
        begin.success(handlers.reply, asked, every, **quiet).then(handlers.rest, None, every, **quiet)
    parts.box.stop(handlers.stop, None, None, queue=False, **quiet)
    blocks.unload(handlers.stop)


def _wire_visiting(blocks: gr.Blocks, parts: Parts, handlers: Visiting) -> None:
    every: Any = _outputs(parts)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for event in (parts.new.click, parts.mode.change, parts.chats[0].clear, parts.chats[1].clear):
        event(handlers.fresh, [parts.mode, parts.kept], every, **quiet)
    blocks.load(handlers.opened, [parts.kept], every, **quiet)
    parts.timer.tick(handlers.looked, [parts.ready, parts.model], every, **quiet)
    parts.consent.input(handlers.consented, [parts.consent, parts.kept], every, **quiet)


def _wire_judging(parts: Parts, handlers: Judging) -> None:
    every: Any = _outputs(parts)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for verdict, button in zip(VOTES, parts.vote_buttons, strict=True):
        voted = partial(handlers.voted, cast("Vote", verdict))
        button.click(voted, [parts.talk, parts.kept, parts.consent], every, **quiet)
    parts.chats[0].like(handlers.rated, [parts.talk, parts.kept, parts.consent], every, **quiet)
    told = [parts.rated, parts.reasons, parts.words, parts.correction, parts.consent]
    parts.send.click(handlers.explained, told, every, **quiet)
    parts.close.click(lambda: {parts.panel: gr.update(visible=False)}, None, every, **quiet)


def _outputs(parts: Parts) -> list[Any]:
    return [
        parts.talk, parts.rated, parts.asking, parts.ready, parts.kept, parts.model, *parts.chats, parts.other_column,
        parts.votes, parts.vote_note, *parts.vote_buttons, parts.status, parts.box, parts.consent, parts.you,
        parts.panel, parts.panel_note, parts.reasons, parts.words, parts.correction,
    ]
