"""Ask the model: prompts in, texts out, in batches of like length and back in the order of asking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from model.records import IMAGE_TOKEN


@dataclass(frozen=True)
class Prompt:
    """One question to the model: the human turn, with the image token in front if there is an image."""

    text: str
    image: Path | None
    max_new_tokens: int

    def __post_init__(self) -> None:
        wanted = 0 if self.image is None else 1
        assert self.text.count(IMAGE_TOKEN) == wanted, f"{wanted} image token(s) belong into: {self.text[:80]!r}"


class Answerer(Protocol):
    """A model that answers, greedily, so that the same prompt gets the same text."""

    def answer(self, prompts: Sequence[Prompt]) -> list[str]:
        """The answers in the order of the prompts, without prompt and end mark."""


def answer_all(
    answerer: Answerer, prompts: Sequence[Prompt], batch: int, progress: Callable[[int], None]
) -> list[str]:
    """Answer all prompts, `batch` at a time. `progress` hears how many are answered.

    Prompts with and without image are not mixed, and neighbours are of like length, so that a batch pads little.
    """
    order = sorted(range(len(prompts)), key=lambda index: (prompts[index].image is None, len(prompts[index].text)))
    texts: dict[int, str] = {}
    for chunk in _chunks(order, prompts, batch):
        answers = answerer.answer([prompts[index] for index in chunk])
        texts.update(zip(chunk, answers, strict=True))
        progress(len(texts))
    return [texts[index] for index in range(len(prompts))]


def _chunks(order: Sequence[int], prompts: Sequence[Prompt], batch: int) -> list[list[int]]:
    seeing = [index for index in order if prompts[index].image is not None]
    blind = [index for index in order if prompts[index].image is None]
    return [part[start : start + batch] for part in (seeing, blind) for start in range(0, len(part), batch)]
