"""What is said to a teacher or judge and what comes back: the words that clients, ledger and stages share."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pydantic import JsonValue

ChatRole = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class ImageFile:
    """An image that goes with a message. It is read when it is sent; `sha256` (hex) is of its bytes."""

    path: Path
    media_type: str
    sha256: str

    def data_uri(self) -> str:
        """The image as endpoints take it."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.path.read_bytes()).decode('ascii')}"


@dataclass(frozen=True)
class Message:
    """One message of a chat: words, and an image in front of them where there is one."""

    role: ChatRole
    content: str
    image: ImageFile | None = None

    def json(self) -> dict[str, JsonValue]:
        """The message as an OpenAI-compatible endpoint takes it."""
        if self.image is None:
            return {"role": self.role, "content": self.content}
        shown: dict[str, JsonValue] = {"type": "image_url", "image_url": {"url": self.image.data_uri()}}
        return {"role": self.role, "content": [shown, {"type": "text", "text": self.content}]}

    def kept(self) -> dict[str, JsonValue]:
        """The message as the ledger keeps it: of an image its digest."""
        told: dict[str, JsonValue] = {"role": self.role, "content": self.content}
        return told if self.image is None else told | {"image": self.image.sha256}


@dataclass(frozen=True)
class Reply:
    """What came back. `finish_reason` is the endpoint's: "stop", or "length" where max_tokens cut it off."""

    text: str
    input_tokens: int
    output_tokens: int
    finish_reason: str = "stop"
    estimated: bool = False
    """The endpoint's token figures were missing or could not be right; these are ours."""
    served: str = field(default="", compare=False)
    """What the endpoint says answered: the model it resolved the name to, and its fingerprint. Empty if it does not."""
    answered: float | None = field(default=None, compare=False)
    """When, in seconds since the epoch, as the ledger has it. No part of a key, nor of what makes two replies equal."""


@dataclass(frozen=True)
class Failure:
    """One request failed for good, though the endpoint may well answer the next. `reason` is one line."""

    reason: str


@dataclass(frozen=True)
class Usage:
    """Requests answered, tokens and money; sums with `+`."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        """The total of both."""
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.usd + other.usd,
        )


class Window(Protocol):
    """Requests under way at a client, for one thread that hands them over and takes their outcomes."""

    @property
    def free(self) -> int:
        """How many more requests may be handed over now."""

    def send(self, requests: Sequence[tuple[int, Sequence[Message]]]) -> None:
        """Hand over requests, each with a number that its outcome will carry. Returns at once."""

    def land(self, hungry: bool, seconds: float) -> list[tuple[int, Reply | Failure]]:
        """Wait, at most so many seconds, and return all outcomes that are there.

        `hungry` is to return as soon as `free` is above 0 too. Raises EndpointRejected or EndpointError when the
        endpoint as a whole cannot be used, after all that was under way has been returned.
        """


class ChatClient(Protocol):
    """A teacher or judge. Whoever made it closes it (`contextlib.closing`)."""

    @property
    def model(self) -> str:
        """Name of the model that answers."""

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that shapes an answer beside the messages: endpoint, model, sampling parameters."""

    @property
    def costly(self) -> bool:
        """An answer takes money or time."""

    @property
    def patience(self) -> float:
        """Seconds within which a request that was sent is either answered or given up."""

    @property
    def usage(self) -> Usage:
        """Total of all replies so far."""

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once. Raises EndpointError when no answer can be had."""

    def window(self) -> AbstractContextManager[Window]:
        """A window for many requests at once. Leaving it gives up what is under way."""

    def price(self, reply: Reply) -> float:
        """What a reply cost, in USD."""

    def highest_price(self, messages: Sequence[Message]) -> float:
        """What a request can cost at most, in USD; the tokens of the messages are a cautious estimate."""

    def close(self) -> None:
        """Let go of connections and threads."""
