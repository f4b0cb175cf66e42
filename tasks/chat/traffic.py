"""Who may be on the wire to one endpoint, and when: pace, quota, ordered pauses, and what to do about an outage.

The circuit: after `after` tries in a row that failed, one request at a time is on the wire, a probe, while all others
wait; the first answer lets them go on. After `after` requests in a row that failed with all their tries, the endpoint
is given up. So an endpoint may be away for as long as it takes to start it again, and is hardly bothered meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from configs.schema import OpenAIEndpoint
from tasks.chat.errors import Retry
from tasks.chat.pace import Pace
from tasks.chat.quota import Quota
from tasks.chat.records import Reply

AHEAD = 4
"""One request for so many places is handed over ahead of the others."""
ORDERED_JITTER = 0.1
"""Seconds over which those who waited for the same time are spread."""


@dataclass
class Circuit:
    """What failed in a row, and what follows from it."""

    after: int
    failed_tries: int = 0
    failed_requests: int = 0

    @property
    def probing(self) -> bool:
        """One request at a time finds out whether the endpoint is there again."""
        return self.failed_tries >= self.after

    @property
    def open(self) -> bool:
        """Nothing is sent any more."""
        return self.failed_requests >= self.after

    def answered(self) -> None:
        """The endpoint is there."""
        self.failed_tries = self.failed_requests = 0

    def begin_again(self) -> None:
        """Somebody wants to try again; he begins with a probe if the last tries failed."""
        self.failed_requests = 0


class Traffic:
    """Lets requests pass. All but `room` and `until_room` belongs to the event loop that carries them."""

    def __init__(
        self, endpoint: OpenAIEndpoint, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self.pace = Pace(endpoint.concurrency)
        self.quota = Quota(endpoint.requests_per_minute, endpoint.tokens_per_minute, clock())
        self.circuit = Circuit(endpoint.circuit_after)
        self._held_until = clock()
        self._on_wire = 0
        self.sending: set[asyncio.Task[Any] | None] = set()
        """Tasks whose request the endpoint has."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._jitter = random.SystemRandom()

    @property
    def width(self) -> int:
        """How many requests may be on the wire."""
        return 1 if self.circuit.probing else self.pace.limit

    def room(self, under_way: int) -> int:
        """How many requests to hand over, beside those under way.

        Some more than may be on the wire: while one pauses before its next try, and in the time that it takes to
        write an outcome down, the next is there to take the place.
        """
        now = self._clock()
        if now < self._held_until:
            return 0
        places = self.width + self.width // AHEAD
        return max(0, int(min(places - under_way, self.quota.room(now))))

    def until_room(self) -> float | None:
        """Seconds until there is room again because time has passed; None where only an outcome makes room."""
        now = self._clock()
        seconds = max(self._held_until - now, self.quota.until_room(now) if self.quota.limited else 0.0)
        return seconds if seconds > 0 else None

    async def enter(self, tokens: int) -> float:
        """Wait until a request of so many tokens may be sent. Returns the time; `leave` must follow."""
        while True:
            await self._take_place()
            now = self._clock()
            held, wait = self._held_until - now, self.quota.wait(tokens, now)
            if held <= 0 and wait <= 0:
                self.quota.take(tokens, now)
                self.sending.add(asyncio.current_task())
                return now
            self._give_place()
            await self._sleep(max(wait, held + self._jitter.uniform(0.0, ORDERED_JITTER) if held > 0 else 0.0))

    def leave(self, sent: float, tokens: int, outcome: Reply | Retry | None) -> None:
        """A try is over. `sent` and `tokens` are those of `enter`; None is an outcome that says nothing."""
        now = self._clock()
        self.sending.discard(asyncio.current_task())
        if isinstance(outcome, Reply):
            self.pace.answered(sent, now)
            self.circuit.answered()
            self.quota.correct(tokens, outcome.input_tokens + outcome.output_tokens, now)
        elif outcome is not None:
            self.circuit.failed_tries += 1
            if outcome.too_many:
                self.pace.refused(sent, now)
            if outcome.after is not None:
                self._held_until = max(self._held_until, now + outcome.after)
        if outcome is not None:
            self._give_place()
        else:
            # Whoever sees why it ended may call the others off before the next is sent.
            asyncio.get_running_loop().call_soon(self._give_place)

    async def _take_place(self) -> None:
        """Wait for a place on the wire; first come, first served."""
        if self._on_wire < self.width and not self._waiting:
            self._on_wire += 1
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self._give_place()
            raise

    def _give_place(self) -> None:
        """Leave the wire to those who wait."""
        self._on_wire -= 1
        while self._on_wire < self.width and self._waiting:
            ticket = self._waiting.popleft()
            if not ticket.done():
                ticket.set_result(None)
                self._on_wire += 1
