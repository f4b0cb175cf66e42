"""What the gateway and an engine say to each other: a conversation in, pieces of an answer out. Pure: no torch."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Literal, Protocol

from model.sampling import GREEDY, Sampling

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Picture:
    """An image, upright, in RGB: its size in pixels, its bytes row by row, and their digest."""

    width: int
    height: int
    octets: bytes
    digest: str


@dataclass(frozen=True)
class Said:
    """One message: its words, and the images in front of them."""

    role: Role
    words: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A conversation that is to be gone on with."""

    said: tuple[Said, ...]
    limit: int
    """Longest answer in tokens."""
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """A further piece of an answer. The last one names why it ended, and how many tokens there were."""

    text: str
    finish: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class EngineFailed(Exception):
    """The engine broke: it is not the request's fault, and another engine may answer it."""


class PromptRefused(Exception):
    """The engine cannot take this conversation: too long, or its order of roles is none the model knows."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine(Protocol):
    """What answers. One engine holds one model."""

    @property
    def alive(self) -> bool:
        """It can be asked."""

    def answer(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """The answer as it comes. Closing the generator early calls the question off and frees its place.

        Raises PromptRefused or EngineFailed.
        """

    async def close(self) -> None:
        """End it, and what it holds."""
