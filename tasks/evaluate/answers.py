"""Ask the model: prompts in, texts out as they come, and back in the order of asking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from model.records import IMAGE_TOKEN
from model.sampling import GREEDY, Sampling


@dataclass(frozen=True)
class Prompt:
    """One question to the model: the human turn, with the image token in front if there is an image.

    `begun` are words that the answer begins with: the model goes on from them, and they are no part of the answer.
    """

    text: str
    image: Path | None
    max_new_tokens: int
    begun: str = ""
    sampling: Sampling = GREEDY

    def __post_init__(self) -> None:
        wanted = 0 if self.image is None else 1
        assert self.text.count(IMAGE_TOKEN) == wanted, f"{wanted} image token(s) belong into: {self.text[:80]!r}"


class Answerer(Protocol):
    """A model that answers: the same prompt gets the same text, whatever is asked beside it."""

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """(position, answer without prompt and end mark) of every prompt, as answers end.

        `batch` is how many may be under way at the same time; an endpoint has its own bound.
        """


class Likely(Protocol):
    """How likely an answer is."""

    @property
    def log_probability(self) -> float:
        """Natural logarithm of its probability given the prompt, the end mark left out."""

    @property
    def tokens(self) -> int:
        """Its length."""


@runtime_checkable
class Scorer(Protocol):
    """A model that tells how likely given answers are."""

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> Iterator[tuple[int, Sequence[Likely]]]:
        """(position, one likelihood an answer) of every prompt, as they come; `answers` are those of each prompt."""


def answer_all(
    answerer: Answerer, prompts: Sequence[Prompt], batch: int, progress: Callable[[int], None]
) -> list[str]:
    """Answer all prompts, `batch` at the same time. `progress` hears how many are answered."""
    texts: dict[int, str] = {}
    for position, text in answerer.answer(prompts, batch):
        texts[position] = text
        progress(len(texts))
    assert len(texts) == len(prompts), f"{len(prompts) - len(texts)} prompts were left without an answer"
    return [texts[position] for position in range(len(prompts))]
