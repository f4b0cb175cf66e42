"""Who is let in: so many answers at a time, so many that wait, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus

from configs.serve import Limits
from tasks.serve.failures import Refusal
from tasks.serve.figures import Figures

RETRY_SECONDS = 2


class Admission:
    """Counts requests. `entered` bounds all that are there, `place` those that are answered at the same time."""

    def __init__(self, limits: Limits, figures: Figures) -> None:
        self._most = limits.concurrency + limits.queue
        self._places = asyncio.Semaphore(limits.concurrency)
        self._there = 0
        self._figures = figures

    @property
    def there(self) -> int:
        """Requests that are under way or wait."""
        return self._there

    @contextmanager
    def entered(self) -> Iterator[None]:
        """A request is read and answered. Raises Refusal where there are too many."""
        if self._there >= self._most:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, "server_overloaded", "too many requests wait already; try again",
                retry_after=RETRY_SECONDS,
            )
        self._there += 1
        try:
            yield
        finally:
            self._there -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place in the batch, once there is one."""
        with self._figures.queue.track_inprogress():
            await self._places.acquire()
        try:
            with self._figures.under_way.track_inprogress():
                yield
        finally:
            self._places.release()
