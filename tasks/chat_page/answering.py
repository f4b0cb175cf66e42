"""Ask the endpoint for the open question of each side of a conversation, and follow the answers as they come."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tasks.chat_page.desk import Desk
from tasks.chat_page.endpoint import Asked, Trouble
from tasks.chat_page.talk import Side, Talk, request

MIME = {"jpg": "image/jpeg", "png": "image/png"}
PAUSE = 0.05
"""Seconds between two pictures of a growing answer: more often than a screen can show helps nobody."""


@dataclass(frozen=True)
class Wanted:
    """How answers are asked for."""

    temperature: float
    max_tokens: int


@dataclass(frozen=True)
class Figures:
    """What an answer took."""

    model: str
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Step:
    """One side as it is now, with what went wrong, or what it took once it is whole."""

    number: int
    side: Side
    trouble: Trouble | None = None
    figures: Figures | None = None


class Running:
    """The answers under way, by the session that asked, so that a stop, or a closed page, hangs up at once."""

    def __init__(self) -> None:
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    def begin(self, session: str, tasks: list[asyncio.Task[None]]) -> None:
        """Note what a session waits for."""
        self._tasks.setdefault(session, []).extend(tasks)

    def stop(self, session: str) -> bool:
        """Cancel it. Returns whether anything was under way."""
        under_way = [task for task in self._tasks.pop(session, []) if not task.done()]
        for task in under_way:
            task.cancel()
        return bool(under_way)


async def answers(desk: Desk, talk: Talk, wanted: Wanted, running: Running, session: str) -> AsyncIterator[Step]:
    """Answers to the open questions of all sides at once; it ends early where `running` stops the session."""
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    async def follow(number: int, side: Side) -> None:
        try:
            async for step in answer(desk, number, side, wanted):
                await steps.put(step)
        finally:
            await steps.put(None)

    following = [asyncio.create_task(follow(number, side)) for number, side in enumerate(talk.sides)]
    running.begin(session, following)
    try:
        left = len(following)
        while left:
            step = await steps.get()
            if step is None:
                left -= 1
            else:
                yield step
        for ended in await asyncio.gather(*following, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def answer(desk: Desk, number: int, side: Side, wanted: Wanted) -> AsyncIterator[Step]:
    """One side's answer, growing. Its last step has the figures, or the trouble."""
    asked = Asked(side.model, request(side, _encoded(desk, side)), wanted.temperature, wanted.max_tokens)
    said, model, pieces, tokens = "", side.model, 0, None
    started, shown = time.monotonic(), 0.0
    pieces_of = desk.endpoint.stream(asked)
    try:
        async for piece in pieces_of:
            said, model, pieces = said + piece.text, piece.model or model, pieces + bool(piece.text)
            tokens = piece.tokens if piece.tokens is not None else tokens
            if piece.text and time.monotonic() - shown >= PAUSE:
                shown = time.monotonic()
                yield Step(number, side.with_answer(said, model))
    except Trouble as trouble:
        yield Step(number, side.with_answer(said, model) if said else side, trouble=trouble)
        return
    finally:
        await pieces_of.aclose()  # type: ignore[attr-defined]
    figures = Figures(model, pieces if tokens is None else tokens, time.monotonic() - started)
    yield Step(number, side.with_answer(said, model) if said.strip() else side, figures=figures)


def _encoded(desk: Desk, side: Side) -> dict[str, str]:
    """The images of a side as data URIs."""
    encoded = {}
    for image in {image for message in side.messages for image in message.images}:
        picture = desk.uploads.picture(image)
        if picture is None:
            raise LookupError(f"the uploaded image {image} is gone")
        encoded[image] = f"data:{MIME[picture.suffix]};base64,{base64.b64encode(picture.data).decode('ascii')}"
    return encoded
