"""What can go wrong with one request to the fake endpoint, and how often."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: Literal["status", "drop", "half", "body", "drip", "usage", "none"]
    code: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    """Seconds before the answer; for `drip`, between two bytes of it."""


def fine() -> Fault:
    """Nothing goes wrong."""
    return Fault("none")


def status(code: int, retry_after: str | None = None, message: str = "no", error_code: str | None = None) -> Fault:
    """An HTTP error, with Retry-After where given."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    body = json.dumps({"error": {"message": message, "type": "fake", "code": error_code}})
    return Fault("status", code, body, headers)


def drop() -> Fault:
    """The connection ends without a byte of answer."""
    return Fault("drop")


def half() -> Fault:
    """The connection ends in the middle of the body."""
    return Fault("half")


def body(text: str) -> Fault:
    """HTTP 200 with a body that is not a chat completion."""
    return Fault("body", 200, text)


def slow(seconds: float) -> Fault:
    """A proper answer, late."""
    return Fault("none", delay=seconds)


def drip(seconds: float = 0.05) -> Fault:
    """A body that comes byte by byte, one every so many seconds, and is not complete for a very long time."""
    return Fault("drip", delay=seconds)


def wrong_usage(usage: object) -> Fault:
    """A proper answer with these figures in the place of its usage."""
    return Fault("usage", body=json.dumps(usage))


@dataclass
class Chances:
    """Faults by rate: of every request so many in a hundred, drawn from a seed in the order of arrival."""

    rates: Mapping[Fault, float]
    """Share of the requests that each fault befalls."""
    seed: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def draw(self) -> Fault:
        """What befalls the next request."""
        place = self._random.random()
        for fault, rate in self.rates.items():
            place -= rate
            if place < 0:
                return fault
        return fine()
