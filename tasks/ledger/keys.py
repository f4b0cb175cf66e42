"""The key of a request: a digest of all that shapes its answer, and how the request is written down.

Thousands of requests share their system message and examples, so digests of such beginnings are kept: a key costs one
short hash. The digest is a chain over the messages, the same however a request is divided for keeping.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pydantic import JsonValue

from tasks.artifacts import canonical_json, digest_of
from tasks.chat.records import Message
from tasks.ledger.records import Request

BEGINNINGS = 1024


@dataclass(frozen=True)
class Entry:
    """A request as it is written down."""

    key: str
    purpose: str
    model: str
    prefix: str
    prefix_messages: str | None
    """None where the ledger is known to have them."""
    request: str


class Keys:
    """Keys of the requests to one client, which `identity` tells apart from others."""

    def __init__(self, identity: Mapping[str, JsonValue]) -> None:
        self._identity = dict(identity)
        self._start = digest_of(self._identity)

    def of(self, request: Request) -> str:
        """Digest of who answers and how it samples, the messages, the attempt."""
        *_, last = messages = request.messages
        before = beginning(messages[:-1])
        return _digest(f"{self._start} {before} {request.attempt} {_who(last)}", last.content)

    def entry(self, request: Request, key: str, purpose: str, model: str, known: Container[str]) -> Entry:
        """What is written down: the longest beginning that the ledger has, or else all but the last message."""
        messages, at = request.messages, len(request.messages) - 1
        ways = ((place, beginning(messages[:place])) for place in range(at, 0, -1))
        place, prefix = next(((place, digest) for place, digest in ways if digest in known), (at, ""))
        prefix = prefix or beginning(messages[:at])
        written = {
            "client": self._identity, "prefix": prefix, "rest": [message.kept() for message in messages[place:]],
            "attempt": request.attempt,
        }
        stored = None if prefix in known else canonical_json([message.kept() for message in messages[:place]])
        return Entry(key, purpose, model, prefix, stored, canonical_json(written))


@lru_cache(BEGINNINGS)
def beginning(messages: tuple[Message, ...]) -> str:
    """Digest of the first messages of a request."""
    if not messages:
        return _digest("", "")
    *_, last = messages
    return _digest(f"{beginning(messages[:-1])} {_who(last)}", last.content)


def _who(message: Message) -> str:
    """The role of a message, and what it shows."""
    return message.role if message.image is None else f"{message.role} {message.image.sha256}"


def _digest(before: str, content: str) -> str:
    """`before` has no line break, so the two cannot be taken for others."""
    return hashlib.sha256(f"{before}\n{content}".encode("utf-8", "surrogatepass")).hexdigest()
