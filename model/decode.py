"""Answer questions with a checkpoint: batched greedy decoding, left-padded, by transformers' own `generate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import nn

from model.build import Assembled, load
from model.own_template import template_for
from model.records import Turn
from model.templates import Template
from model.tokenize import ConversationTokenizer


@dataclass(frozen=True)
class Question:
    """A human turn, with the image token in front where it has an image."""

    text: str
    image: Path | None
    max_new_tokens: int


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
        """Longest answer."""


class HuggingFaceAnswerer:
    """A checkpoint that answers. Prompts are tokenised as in training; images likewise."""

    def __init__(self, folder: Path, template: str, *, dtype: torch.dtype = torch.float32) -> None:
        self.assembled: Assembled = load(folder)
        llava: nn.Module = self.assembled.llava
        llava.to(dtype).eval()
        self.template: Template = template_for(template, self.assembled.tokenizer)
        self.conversations: ConversationTokenizer = self.assembled.conversations(self.template)
        self.transform = self.assembled.transform()

    @torch.inference_mode()
    def answer(self, questions: Sequence[Asked]) -> list[str]:
        """The words of each answer, without prompt and end mark. Deterministic: greedy, ties by the lowest id.

        Questions of one call are decoded together; those that have an image and those that have none are apart.
        """
        if not questions:
            return []
        prompts = [self.conversations.prompt([Turn(role="human", text=question.text)]) for question in questions]
        pad = int(self.assembled.tokenizer.pad_token_id or 0)
        longest = max(map(len, prompts))
        ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        llava = self.assembled.llava
        pixels = [self._pixels(question.image) for question in questions if question.image is not None]
        shown: dict[str, Any] = {"pixel_values": torch.stack(pixels).to(llava.dtype)} if pixels else {}
        end = self.template.end_mark(self.conversations.eos)
        stop = self.assembled.tokenizer(end, add_special_tokens=False)["input_ids"]
        if len(stop) > 1:
            # An end mark of several tokens (v0) can only be watched for in the text.
            shown |= {"stop_strings": [end], "tokenizer": self.assembled.tokenizer}
        answered: Any = llava.generate(  # type: ignore[misc]
            input_ids=ids,
            attention_mask=mask,
            **shown,
            max_new_tokens=max(question.max_new_tokens for question in questions),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=stop if len(stop) == 1 else self.assembled.tokenizer.eos_token_id,
        )
        words = self.assembled.tokenizer.batch_decode(answered[:, longest:], skip_special_tokens=True)
        cut = [text.split(end, 1)[0] if len(stop) > 1 else text.removesuffix(end) for text in words]
        return [text.removeprefix(self.template.before_words) for text in cut]

    def _pixels(self, path: Path) -> torch.Tensor:
        with Image.open(path) as opened:
            return self.transform.of(opened.convert("RGB"))
