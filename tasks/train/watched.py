"""A few held-out samples that the model answers while it trains: what it says of the same images after so many steps.

Answers are greedy and short, and all samples are asked in one packed row that grows by a token at a time. Every rank
that takes part does exactly as many passes, whatever comes out: under ZeRO-3 one that stopped early would hang the
others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.build import Assembled
from model.packed import Row, collate
from model.records import IMAGE_TOKEN, Sample
from model.tokenize import IGNORE, ConversationTokenizer, Encoded
from tasks.artifacts import Frozen
from tasks.shards import PNG, ShardReader, held_out
from tasks.spans import Spans

WATCHED = 4
"""Samples that are asked about."""
TOKENS = 32
"""Longest answer."""
LINES, PICTURES = "answers.jsonl", "answers"


class Answered(Frozen):
    """One answer. `picture` is relative to the artifact's folder, `wanted` what the sample itself says."""

    step: int
    key: str
    picture: str | None
    question: str
    wanted: str
    answer: str


class Watched:
    """The first held-out samples of a shard set: the order of the index is that of hashes, so they are a fixed draw."""

    def __init__(
        self, shards: Path | Spans, stage: str, tokenizer: ConversationTokenizer, assembled: Assembled, longest: int
    ) -> None:
        self._tokenizer, self._transform = tokenizer, assembled.transform()
        self._pad = int(assembled.tokenizer.pad_token_id or 0)
        self._samples: list[tuple[str, Sample, list[int], list[bytes]]] = []
        with ShardReader(shards, held_out(stage)) as reader:
            for number, key in enumerate(reader.keys()):
                sample = reader.sample(number)
                prompt = tokenizer.prompt(sample.conversations[:1])
                shown = prompt.count(tokenizer.image_token_id) // tokenizer.image_tokens
                if sample.image is not None and len(prompt) + TOKENS <= longest:
                    self._samples.append((key, sample, prompt, reader.images(number)[:shown]))
                if len(self._samples) == WATCHED:
                    break
        self._pixels: list[Tensor] = [
            self._transform(image) for *_, images in self._samples for image in images
        ]

    def ask(self, engine: Any, step: int) -> list[Answered]:
        """The answers after a step, by a DeepSpeed engine over a `PackedLlava`. Leaves it as it was."""
        if not self._samples:
            return []
        told: list[list[int]] = [[] for _ in self._samples]
        engine.eval()
        with torch.no_grad():
            for _ in range(TOKENS):
                row = self._row(told)
                chosen = engine(row if engine.device.type == "cpu" else row.to(engine.device))
                for answer, token in zip(told, chosen.tolist(), strict=True):
                    answer.append(int(token))
        engine.train()
        return [self._answered(at, step, tokens) for at, tokens in enumerate(told)]

    def write_pictures(self, folder: Path) -> None:
        """The first image of each sample, under the names that answers have for them."""
        for key, _, _, images in self._samples:
            path = folder / _picture(key, images[0])
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(images[0])

    def _row(self, told: Sequence[Sequence[int]]) -> Row:
        """Prompts with the answers so far: what comes next is asked, and nothing is supervised."""
        asked = []
        for (_, _, prompt, _), answer in zip(self._samples, told, strict=True):
            ids = (*prompt, *answer)
            asked.append(Encoded(ids, (IGNORE,) * len(ids), turns=1))
        row = collate(asked, self._pixels, self._transform.dummy(), self._pad)
        ends = torch.tensor([len(one.ids) for one in asked]).cumsum(0) - 1
        return Row(row.input_ids, row.position_ids, row.segments, ends, row.targets, row.pixel_values, row.real_images)

    def _answered(self, at: int, step: int, tokens: Sequence[int]) -> Answered:
        key, sample, _, images = self._samples[at]
        template, words = self._tokenizer.template, self._tokenizer.tokenizer
        text = str(words.decode(list(tokens), skip_special_tokens=False))
        question, wanted = (turn.text.replace(IMAGE_TOKEN, "").strip() for turn in sample.conversations[:2])
        answer = text.split(template.end_mark(self._tokenizer.eos), 1)[0].split(self._tokenizer.eos, 1)[0].strip()
        return Answered(
            step=step, key=key, picture=_picture(key, images[0]), question=question, wanted=wanted, answer=answer
        )


def _picture(key: str, image: bytes) -> str:
    return f"{PICTURES}/{key}.{'png' if image.startswith(PNG) else 'jpg'}"
