"""What is said to a teacher or judge and what comes back: the words that clients, ledger and stages share."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
        """An answer takes money or time, so each is to be kept as soon as it is there."""

    @property
    def patience(self) -> float:
        """Seconds within which a request that was sent is either answered or given up."""

    @property
    def usage(self) -> Usage:
        """Total of all replies so far."""

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once. Raises EndpointError when no answer can be had."""

    def answer_all(self, requests: Iterable[Sequence[Message]]) -> Iterator[tuple[int, Reply | Failure]]:
        """Ask all, several at once; yields (position, outcome) in the order of arrival.

        `requests` is drawn from only as places become free. Raises EndpointRejected or EndpointError when the
        endpoint as a whole cannot be used, after what was under way has been yielded.
        """

    def price(self, reply: Reply) -> float:
        """What a reply cost, in USD."""

    def highest_price(self, messages: Sequence[Message]) -> float:
        """What a request can cost at most, in USD; the tokens of the messages are a cautious estimate."""

    def close(self) -> None:
        """Let go of connections and threads."""
