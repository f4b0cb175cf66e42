"""Limits on requests and tokens a minute: token buckets that hold a second's worth.

A pure account of time: nothing waits here. Tokens of a request are estimated and taken before it is sent, and put
right by what the endpoint says it used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUTE = 60.0


@dataclass
class Bucket:
    """An allowance that refills evenly. What is larger than the bucket is let through when it is full, as a debt."""

    per_minute: float
    level: float
    filled: float
    """When `level` was right, in seconds."""

    @property
    def capacity(self) -> float:
        """A second's worth, and never less than one."""
        return max(1.0, self.per_minute / MINUTE)

    def wait(self, amount: float, now: float) -> float:
        """Seconds until so much may be taken."""
        lacking = min(amount, self.capacity) - self._at(now)
        return max(0.0, lacking * MINUTE / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take so much, or give it back where negative."""
        self.level, self.filled = min(self.capacity, self._at(now) - amount), now

    def holds(self, amount: float, now: float) -> int:
        """How often so much may be taken now."""
        level = self._at(now)
        return 0 if level < min(amount, self.capacity) else max(1, int(level / max(amount, 1.0)))

    def _at(self, now: float) -> float:
        return min(self.capacity, self.level + (now - self.filled) * self.per_minute / MINUTE)


class Quota:
    """Both limits of an endpoint; None is no limit."""

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None, now: float) -> None:
        self._requests = _bucket(requests_per_minute, now)
        self._tokens = _bucket(tokens_per_minute, now)
        self._usual = 1.0

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return self._requests is not None or self._tokens is not None

    def wait(self, tokens: int, now: float) -> float:
        """Seconds until a request of so many tokens may be sent."""
        requests = self._requests.wait(1.0, now) if self._requests else 0.0
        return max(requests, self._tokens.wait(tokens, now) if self._tokens else 0.0)

    def take(self, tokens: int, now: float) -> None:
        """A request of so many tokens, as is estimated, is sent now."""
        self._usual = float(tokens)
        if self._requests:
            self._requests.take(1.0, now)
        if self._tokens:
            self._tokens.take(tokens, now)

    def correct(self, estimated: int, used: int, now: float) -> None:
        """The endpoint says what a request really used."""
        if self._tokens:
            self._tokens.take(used - estimated, now)

    def room(self, now: float) -> float:
        """How many usual requests may be sent now; infinite without a limit."""
        requests = self._requests.holds(1.0, now) if self._requests else math.inf
        return min(requests, self._tokens.holds(self._usual, now) if self._tokens else math.inf)

    def until_room(self, now: float) -> float:
        """Seconds until one usual request may be sent."""
        return self.wait(int(self._usual), now)


def _bucket(per_minute: float | None, now: float) -> Bucket | None:
    if per_minute is None:
        return None
    bucket = Bucket(per_minute, 0.0, now)
    bucket.level = bucket.capacity
    return bucket
