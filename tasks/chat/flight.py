"""Requests under way at one endpoint: handed over by a thread that writes down, carried by an event loop.

What lands while the thread is busy waits for it, so outcomes come in groups exactly when there are many.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tasks.chat.errors import EndpointBusy, EndpointDown
from tasks.chat.records import Failure, Message, Reply
from tasks.chat.traffic import Traffic
from tasks.errors import EndpointError, EndpointRejected

FOR_ALL = (EndpointRejected, EndpointDown, EndpointBusy)
"""What holds for every request."""


class Flight:
    """A `Window` on an endpoint whose requests `answer` carries on `loop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        traffic: Traffic,
        answer: Callable[[Sequence[Message]], Coroutine[Any, Any, Reply]],
        base_url: str,
    ) -> None:
        self._loop, self._traffic, self._answer, self._base_url = loop, traffic, answer, base_url
        self._news = threading.Condition()
        self._landed: list[tuple[int, Reply | Failure]] = []
        self._under_way = self._unsent = 0
        self._tasks: dict[asyncio.Task[Reply], int] = {}
        self._fatal: BaseException | None = None
        self._over = False

    @property
    def free(self) -> int:
        """See `Window`."""
        return 0 if self._fatal is not None else self._traffic.room(self._under_way)

    def send(self, requests: Sequence[tuple[int, Sequence[Message]]]) -> None:
        """See `Window`."""
        self._under_way += len(requests)
        self._loop.call_soon_threadsafe(self._start, list(requests))

    def land(self, hungry: bool, seconds: float) -> list[tuple[int, Reply | Failure]]:
        """See `Window`."""
        with self._news:
            if not self._landed and not self._unsent:
                self._wait(hungry, seconds)
            group, self._landed = self._landed, []
            self._under_way -= len(group) + self._unsent
            self._unsent = 0
        if not group and self._fatal is not None and not self._under_way:
            raise self._fatal
        return group

    def cancel(self) -> None:
        """Give up what is under way."""
        self._over = True
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel)

    # ------------------------------------------------------------------ in the caller's thread

    def _wait(self, hungry: bool, seconds: float) -> None:
        """Until something has landed, there is room, or nothing is to be waited for."""
        if not hungry or self._fatal is not None:
            if self._under_way:
                self._news.wait(seconds)
        elif self.free == 0:
            until = self._traffic.until_room()
            self._news.wait(seconds if until is None else min(seconds, until))

    # ------------------------------------------------------------------ in the loop

    def _start(self, requests: Sequence[tuple[int, Sequence[Message]]]) -> None:
        if self._over:
            return
        if self._fatal is not None:
            with self._news:
                self._unsent += len(requests)
                self._news.notify()
            return
        for place, messages in requests:
            task = self._loop.create_task(self._answer(messages))
            self._tasks[task] = place
            task.add_done_callback(self._done)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[Reply]) -> None:
        place = self._tasks.pop(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        with self._news:
            if error is None:
                self._landed.append((place, task.result()))
            elif task.cancelled() and self._fatal is not None:
                self._unsent += 1
            else:
                self._landed.append((place, Failure(self._reason(error))))
            self._news.notify()

    def _reason(self, error: BaseException) -> str:
        """Why a request failed, in a line; notes what ends the whole flight."""
        fatal: BaseException | None = None
        if isinstance(error, asyncio.CancelledError):
            fatal = error = EndpointError("the client was closed before the answer came")
        elif not isinstance(error, EndpointError) or isinstance(error, FOR_ALL):
            fatal = error
        else:
            self._traffic.circuit.failed_requests += 1
            if self._traffic.circuit.open:
                fatal = EndpointError(
                    f"{self._traffic.circuit.failed_requests} requests in a row failed at {self._base_url} ({error}); "
                    "what was answered is kept: see to the endpoint and run again"
                )
        if fatal is not None and self._fatal is None:
            self._fatal = fatal
            # Whatever the endpoint has may still be answered; nothing else is sent.
            for task in self._tasks.keys() - self._traffic.sending:
                task.cancel()
        return str(error)
