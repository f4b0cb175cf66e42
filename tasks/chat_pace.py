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
WINDOW = 20
"""Outcomes at least over which a share of refusals and a mean latency are taken."""
TOLERATED = 1 / 8
"""Share of refusals (429, 503) that is put up with: they are only sent again."""
DECREASE = 0.7
"""Factor of a back-off."""
GROWTH = 1 / 8
"""Growth after the first back-off: this share more for each round of answers, at least one."""
SLOWER = 2.0
"""Latency, against the least seen, that is put up with at an equal number under way."""
DRIFT = 1.02
"""The least latency is forgotten by this factor a window, so that a changed endpoint is learnt anew."""


class Pace:
    """The number of requests at once, between 1 and `ceiling`. Times are seconds of any one clock."""

    def __init__(self, ceiling: int) -> None:
        self._ceiling = ceiling
        self._limit = float(min(ceiling, START))
        self._starting = True
        self._changed = float("-inf")
        self._least: float | None = None
        self._least_at = 1
        self._begin()

    @property
    def limit(self) -> int:
        """How many requests may be on the wire."""
        return int(self._limit)

    def answered(self, sent: float, landed: float) -> None:
        """A request got its answer."""
        if sent < self._changed:
            return
        self._answered += 1
        self._seconds += landed - sent
        step = 1.0 if self._starting else max(1.0, GROWTH * self._limit) / self._limit
        self._limit = min(float(self._ceiling), self._limit + step)
        if self._answered + self._refused >= self._window:
            self._judge(landed)

    def refused(self, sent: float, landed: float) -> None:
        """A request was refused as one too many. What was sent before the last back-off says nothing about it."""
        if sent < self._changed:
            return
        self._refused += 1
        if self._refused > TOLERATED * self._window:
            self._back_off(DECREASE, landed)

    @property
    def _window(self) -> int:
        return max(self.limit, WINDOW)

    def _begin(self) -> None:
        self._answered, self._refused, self._seconds = 0, 0, 0.0

    def _judge(self, now: float) -> None:
        """Look at the mean latency of the window that is full, and begin another."""
        mean = self._seconds / self._answered
        if self._least is None or mean <= self._least * 1.1:
            self._least_at = max(self._least_at, self.limit) if self._least is not None else self.limit
            self._least = mean if self._least is None else min(mean, self._least)
        allowed = self._least * max(SLOWER, self._limit / self._least_at / 2)
        self._least *= DRIFT
        if mean > allowed:
            self._back_off(max(DECREASE, allowed / mean), now)
        self._begin()

    def _back_off(self, factor: float, now: float) -> None:
        self._limit = max(1.0, self._limit * factor)
        self._starting = False
        self._changed = now
        self._begin()
