"""Clients that hang up: what is done for them ends at once, and their place in the batch is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping, MutableMapping
from typing import Any, TypeVar

from fastapi.responses import Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
T = TypeVar("T")
HANG_UP = 499
"""The status that logs show for a client that did not wait; it is sent to nobody."""


class HungUp(Exception):
    """The client is gone."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work; should the client hang up meanwhile, cancel it. Raises HungUp, or what the work raises."""
    doing, watching = asyncio.ensure_future(work), asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise HungUp
        return doing.result()
    finally:
        for task in (doing, watching):
            task.cancel()
        await asyncio.gather(doing, watching, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events of a generator, which is closed when the client hangs up; `source` is what it draws on."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], source: AsyncGenerator[object, None], headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._events, self._source = events, source

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        try:
            await unless_gone(receive, self._write(send))
        except (HungUp, OSError):
            return
        finally:
            # A generator that was never begun does not close what it would have drawn on.
            await self._events.aclose()
            await self._source.aclose()

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for octets in self._events:
            await send({"type": "http.response.body", "body": octets, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
