"""A checkpoint that answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import nn

from model.build import load
from model.decode.engine import Engine, Job
from model.decode.forward import Forward
from model.decode.likelihood import Likelihood, likelihoods
from model.decode.prompts import Prompts, prompts_of
from model.errors import ModelError
from model.sampling import GREEDY, Sampling

BATCH = 64
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Question:
    """A human turn, with the image token in front where it has an image; with several, a token for each."""

    text: str
    image: Path | None
    max_new_tokens: int
    begun: str = ""
    sampling: Sampling = GREEDY
    more_images: tuple[Path, ...] = ()


class Asked(Protocol):
    """What a question has to tell; `Question` is one."""

    @property
    def text(self) -> str:
        """The human turn."""

    @property
    def image(self) -> Path | None:
        """The file of its image."""

    @property
    def max_new_tokens(self) -> int:
        """Longest answer; of this question, whatever others are allowed."""

    @property
    def begun(self) -> str:
        """Words that the answer begins with, and the model goes on from; they are not part of what comes back."""

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn."""


class HuggingFaceAnswerer:
    """A checkpoint that answers, by a template of training, or by its own chat template where none is named.

    It runs on a GPU where there is one. Raises ModelError if the folder holds no LLaVA, or no chat template.
    """

    def __init__(
        self, folder: Path, template: str | None, *, precision: Precision = "fp32", device: torch.device | None = None
    ) -> None:
        assembled = load(folder)
        llava: nn.Module = assembled.llava
        where = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        llava.to(where, torch.bfloat16 if precision == "bf16" else torch.float32).eval()
        self._forward = Forward(assembled.llava)
        self._prompts: Prompts = prompts_of(assembled, folder, template)
        self._transform = assembled.transform()

    @torch.inference_mode()
    def answer(self, questions: Sequence[Asked], batch: int = BATCH) -> Iterator[tuple[int, str]]:
        """(position, words of the answer) of every question, as answers end.

        `batch` says how many are under way at the same time. The answers are those of one question at a time, but
        where two tokens are as likely as each other up to rounding. Raises ModelError for a prompt that is too long.
        """
        engine = Engine(self._forward, self._transform, self._prompts.ended, batch)
        for number, tokens in engine.run([self._job(at, question) for at, question in enumerate(questions)]):
            yield number, self._prompts.words(tokens)

    @torch.inference_mode()
    def likelihoods(
        self, questions: Sequence[Asked], answers: Sequence[Sequence[str]], batch: int = BATCH
    ) -> Iterator[tuple[int, list[Likelihood]]]:
        """(position, a likelihood for each of the question's `answers`), as they come."""
        jobs = [self._job(at, question) for at, question in enumerate(questions)]
        given = [[self._prompts.answer(words) for words in several] for several in answers]
        yield from likelihoods(self._forward, self._transform, jobs, given, batch)

    def _job(self, number: int, question: Asked) -> Job:
        """The question in ids. An answer never outgrows the positions of the model."""
        prompt = self._prompts.ids(question.text, question.begun)
        room = self._forward.longest - len(prompt)
        if room < 1:
            raise ModelError(
                f"a prompt of {len(prompt)} tokens leaves no room for an answer in {self._forward.longest} positions "
                f"({question.text[:60]!r}); give fewer examples, or leave the question out"
            )
        more: tuple[Path, ...] = getattr(question, "more_images", ())
        return Job(number, tuple(prompt), question.image, min(question.max_new_tokens, room), question.sampling, more)
