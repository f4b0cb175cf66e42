"""How many requests an endpoint is given at once: grows while all is well, backs off where it is too much.

A pure controller: it is told when each request was sent and landed, and says how many may be on the wire. Additive
increase and multiplicative decrease as in TCP's congestion control (RFC 5681: doubling at first, slower after the
first back-off), and a latency gradient as in Netflix's concurrency-limits.

Two things differ from TCP. A few refusals do not slow it down, since public endpoints refuse some requests at any
pace: only a share above `TOLERATED` does. And latency may grow with the number under way as long as that brings more
answers a second, since a server that batches is slower and better so.
"""

from __future__ import annotations

START = 8
"""Requests at once to begin with, where the ceiling allows."""
WINDOW = 48
"""Outcomes at least over which a share of refusals is taken."""
ROUND = 16
"""Answers at least over which a mean latency is taken."""
TOLERATED = 1 / 8
"""Share of refusals (429, 503) that is put up with: they are only sent again."""
DECREASE = 0.7
"""Factor of a back-off."""
GROWTH = 1 / 8
"""Growth after the first back-off: this share more for each round of answers, at least one."""
SLOWER = 2.0
"""Latency, against the least seen, that is put up with at an equal number under way."""
DRIFT = 1.002
"""The least latency is forgotten by this factor a round, so that a changed endpoint is learnt anew."""


class Pace:
    """The number of requests at once, between 1 and `ceiling`. Times are seconds of any one clock."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._limit = float(min(ceiling, START))
        self._starting = True
        self._changed = float("-inf")
        self._outcomes = self._refused = 0
        self._least: float | None = None
        self._least_at = self._round_at = self._limit
        self._answered, self._seconds = 0, 0.0

    @property
    def limit(self) -> int:
        """How many requests may be on the wire."""
        return int(self._limit)

    def answered(self, sent: float, landed: float) -> None:
        """A request got its answer."""
        if sent < self._changed:
            return
        self._count()
        self._answered += 1
        self._seconds += landed - sent
        step = 1.0 if self._starting else max(1.0, GROWTH * self._limit) / self._limit
        self._limit = min(float(self._ceiling), self._limit + step)
        if self._answered >= max(self._round_at, ROUND):
            self._judge(self._seconds / self._answered, landed)

    def refused(self, sent: float, landed: float) -> None:
        """A request was refused as one too many. What was sent before the last back-off says nothing about it."""
        if sent < self._changed:
            return
        self._count()
        self._refused += 1
        if self._refused > TOLERATED * max(self._limit, WINDOW):
            self._back_off(DECREASE, landed)

    def _count(self) -> None:
        """One more outcome; refusals are counted over a window of them."""
        if self._outcomes >= max(self._limit, WINDOW):
            self._outcomes = self._refused = 0
        self._outcomes += 1

    def _judge(self, mean: float, now: float) -> None:
        """Compare the mean latency of a round with the least, and begin another round."""
        at, self._round_at = self._round_at, self._limit
        self._answered, self._seconds = 0, 0.0
        if self._least is None:
            self._least, self._least_at = mean, at
        elif mean <= self._least * 1.1:
            # Half way, since the least of many means is less than what is usual.
            self._least, self._least_at = min(self._least, (self._least + mean) / 2), max(self._least_at, at)
        self._least *= DRIFT
        allowed = self._least * max(SLOWER, at / self._least_at / 2)
        if mean > allowed:
            self._back_off(max(DECREASE, allowed / mean), now)

    def _back_off(self, factor: float, now: float) -> None:
        self._limit = self._round_at = max(1.0, self._limit * factor)
        self._starting = False
        self._changed = now
        self._outcomes = self._refused = self._answered = 0
        self._seconds = 0.0
