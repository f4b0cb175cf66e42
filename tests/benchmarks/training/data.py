"""Model and samples of the training benchmark: random weights of a real shape, lengths as LLaVA-Instruct has them."""

from __future__ import annotations

import io
import json
import math
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from model.build import Assembled, assemble
from model.records import Sample, Turn
from model.templates import template_named
from model.tokenize import ConversationTokenizer
from tasks.shards import IndexEntry, index_file
from tests.fakes.tiny_base import byte_level_tokenizer

TEMPLATE = "bare"
MICRO_BATCH = 4
"""Samples that a peer pads together."""
MEDIAN, SPREAD, SHORTEST, LONGEST = 170.0, 0.70, 40, 800
"""Text tokens of a sample: log-normal, cut off; the mean is 217 (LLaVA-Instruct's is about that)."""
SUPERVISED_SHARE = 0.6
PHOTO = (640, 480)


@dataclass(frozen=True)
class Shape:
    """Sizes of a model: those of the language model and of a CLIP tower."""

    language: dict[str, Any]
    vision: dict[str, Any]


SHAPES: dict[str, Shape] = {
    # SmolLM2-135M and a CLIP of 22M: 196 patch tokens.
    "smollm2": Shape(
        {
            "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
            "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
        },
        {
            "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6,
            "image_size": 224, "patch_size": 16,
        },
    ),
    # TinyLlama-1.1B and Vicuna-7B, each with CLIP-L/14-336: 576 patch tokens.
    "1b": Shape(
        {
            "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22, "num_attention_heads": 32,
            "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False,
        },
        {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "image_size": 336, "patch_size": 14,
        },
    ),
    "7b": Shape(
        {
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
            "num_key_value_heads": 32, "vocab_size": 32000, "tie_word_embeddings": False,
        },
        {
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
            "image_size": 336, "patch_size": 14,
        },
    ),
    # To see that the benchmark itself runs.
    "tiny": Shape(
        {
            "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": 2048, "tie_word_embeddings": True,
        },
        {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 16,
        },
    ),
}


def text_lengths(samples: int, seed: int = 0) -> list[int]:
    """Text tokens of so many samples, in a mixed order: fours of like length, spread over the distribution.

    Each four has the mean length of its share of the distribution, give or take 3%. So few samples stand for many: a
    sampler that groups by length pads these as little as it does 512, and one that does not pads them as much.
    """
    draw, fours = random.Random(seed), samples // MICRO_BATCH
    lengths = []
    for four in range(fours):
        inner = [(four + (at + 0.5) / 50) / fours for at in range(50)]
        mean = fmean(_quantile(share) for share in inner)
        lengths += [round(mean * draw.uniform(0.97, 1.03)) for _ in range(MICRO_BATCH)]
    draw.shuffle(lengths)
    return lengths


def _quantile(share: float) -> float:
    return min(LONGEST, max(SHORTEST, MEDIAN * math.exp(SPREAD * NormalDist().inv_cdf(share))))


def write_base(folder: Path, shape: Shape, device: str) -> Path:
    """A BaseModels folder of random weights, made on a device. Nothing is written twice."""
    if (folder / "language" / "tokenizer.json").is_file():
        return folder
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(0)
    with torch.device(device):
        vision = CLIPVisionModel(CLIPVisionConfig(**shape.vision))
        language = LlamaForCausalLM(
            LlamaConfig(
                **shape.language, max_position_embeddings=4096, bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            )
        )
    side = shape.vision["image_size"]
    vision.bfloat16().save_pretrained(folder / "vision")
    size = {"height": side, "width": side}
    CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size=size).save_pretrained(folder / "vision")
    language.bfloat16().save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    return folder


def open_base(folder: Path) -> Assembled:
    """The model of a folder, connected."""
    return assemble(folder, "mlp2x_gelu", -2, "square", seed=0)


def conversations(assembled: Assembled) -> ConversationTokenizer:
    """How the benchmark's samples are tokenised."""
    return assembled.conversations(template_named(TEMPLATE))


def write_shards(folder: Path, samples: int, stage: str) -> Path:
    """A shard of so many samples, each with a photo, and the index that finds them."""
    folder.mkdir(parents=True, exist_ok=True)
    tar = folder / "shard-00000.tar"
    keys = [f"sample-{number:05d}" for number in range(samples)]
    with tarfile.open(tar, "w") as out:
        for number, (key, length) in enumerate(zip(keys, text_lengths(samples), strict=True)):
            for name, data in ((f"{key}.json", _record(key, length)), (f"{key}.jpg", _photo(number))):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                out.addfile(entry, io.BytesIO(data))
    with tarfile.open(tar) as written:
        places = {entry.name: (entry.offset_data, entry.size, "") for entry in written.getmembers()}
    entries = [
        IndexEntry(key=key, shard=tar.name, record=places[f"{key}.json"], image=places[f"{key}.jpg"]) for key in keys
    ]
    index_file(folder, stage).parent.mkdir(exist_ok=True)
    index_file(folder, stage).write_text("".join(entry.line() + "\n" for entry in entries))
    return folder


def _record(key: str, length: int) -> bytes:
    """A conversation of about so many text tokens: " red" is one token of the benchmark's tokenizer."""
    answer = max(1, round(SUPERVISED_SHARE * length))
    question = max(1, length - answer - _MARKUP)
    turns = (
        Turn(role="human", text="<image>\n" + " ".join(["red"] * question)),
        Turn(role="gpt", text=" ".join(["red"] * answer)),
    )
    return Sample(id=key, image=key, kind="conversation", conversations=turns).line().encode()


_MARKUP = 12
"""Tokens around the words, about."""


def _photo(number: int) -> bytes:
    """A JPEG of a photo's size and detail."""
    draw = np.random.default_rng(number)
    rough = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image = Image.fromarray(rough).resize(PHOTO, Image.Resampling.BICUBIC)
    noise = draw.normal(0, 12, (PHOTO[1], PHOTO[0], 3))
    pixels = np.clip(np.asarray(image, np.float64) + noise, 0, 255).astype(np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG", quality=90)
    return held.getvalue()


def settings(folder: Path, told: dict[str, Any]) -> Path:
    """Write what child processes are told."""
    (folder / "told.json").write_text(json.dumps(told))
    return folder / "told.json"
