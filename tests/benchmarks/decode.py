"""Batched decoding beside one question at a time as the original scripts do it, same model and questions.

    python -m tests.benchmarks.decode [--shape micro|smollm2] [--model FOLDER] [--questions N] [--batch B]

Prints a row of markdown: seconds of both, the ratio, and that the answers are the same. The two are run in turn three
times, and the medians are compared. Random weights stand in where no checkpoint is named: they answer to the bound of
each question, and the bounds are drawn to be as different as real answers are.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from model.build import Assembled, assemble, load
from model.decode import HuggingFaceAnswerer, Question
from model.decode.engine import Engine
from model.records import Turn
from model.templates import template_named
from tests.fakes.tiny_base import byte_level_tokenizer

Shape = Literal["micro", "smollm2"]
TEMPLATE = "bare"
IMAGES = 40
WORDS = ["Which", "shape", "is", "left", "of", "the", "red", "cube", "small", "green", "ball", "and", "blue"]


def random_model(folder: Path, shape: Shape) -> Path:
    """Random weights of the sizes of `shapes`, or of SmolLM2-135M behind a small vision tower of 64 tokens."""
    tokenizer = byte_level_tokenizer()
    torch.manual_seed(0)
    micro = shape == "micro"
    side = 64 if micro else 128
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=side,
            patch_size=16,
        )
    ).save_pretrained(folder / "base" / "vision")
    size = {"height": side, "width": side}
    CLIPImageProcessorPil(size=size, crop_size=size).save_pretrained(folder / "base" / "vision")
    sizes: dict[str, Any] = (
        {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4, "num_attention_heads": 4}
        if micro
        else {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9}
    )
    LlamaForCausalLM(
        LlamaConfig(
            **sizes, num_key_value_heads=4 if micro else 3, vocab_size=1024 if micro else 49152,
            max_position_embeddings=2048, initializer_range=0.06 if micro else 0.02, tie_word_embeddings=not micro,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "base" / "language")
    tokenizer.save_pretrained(folder / "base" / "language")
    assemble(folder / "base", "mlp2x_gelu", -2, "square", 0).save(folder / "model", template_named(TEMPLATE))
    return folder / "model"


def questions(folder: Path, count: int, longest: int) -> list[Question]:
    """Two in three with an image; bounds between a few tokens and `longest`, short ones more often."""
    draw = random.Random(0)
    for number in range(IMAGES):
        octets = torch.randint(0, 256, (200, 260, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(octets.to(torch.uint8).numpy()).save(folder / f"{number}.png")
    made = []
    for number in range(count):
        image = folder / f"{draw.randrange(IMAGES)}.png" if number % 3 else None
        words = " ".join(draw.choices(WORDS, k=draw.randrange(8, 60)))
        bound = 4 + int((longest - 4) * draw.random() ** 2)
        made.append(Question("<image>\n" * (image is not None) + words, image, bound))
    return made


@torch.inference_mode()
def one_by_one(assembled: Assembled, asked: Sequence[Question]) -> list[str]:
    """A call of `generate` a question, image decoded as its turn comes (model_vqa_science.py of LLaVA)."""
    prompts, transform = assembled.conversations(template_named(TEMPLATE)), assembled.transform()
    answers = []
    for question in asked:
        ids = torch.tensor([prompts.prompt([Turn(role="human", text=question.text)])])
        shown: dict[str, Any] = {}
        if question.image is not None:
            shown["pixel_values"] = transform(question.image.read_bytes()).unsqueeze(0)
        found: Any = assembled.llava.generate(  # type: ignore[misc]
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=question.max_new_tokens,
            do_sample=False, **shown,
        )
        words = str(assembled.tokenizer.decode(found[0, ids.shape[1] :], skip_special_tokens=True))
        answers.append(words.removeprefix(" "))
    return answers


@torch.inference_mode()
def batched(answerer: HuggingFaceAnswerer, asked: Sequence[Question], batch: int, refill: bool) -> list[str]:
    """The answers of a running batch."""
    engine = Engine(answerer._forward, answerer._transform, answerer._prompts.ended, batch, refill=refill)
    jobs = [answerer._job(number, question) for number, question in enumerate(asked)]
    found = {number: answerer._prompts.words(tokens) for number, tokens in engine.run(jobs)}
    return [found[number] for number in range(len(asked))]


def measure(folder: Path, asked: Sequence[Question], batch: int, repeats: int) -> tuple[dict[str, float], int]:
    """Median seconds of each way, and how many answers of the running batch are those of one at a time."""
    single = load(folder)
    single.llava.eval()
    answerer = HuggingFaceAnswerer(folder, TEMPLATE, device=torch.device("cpu"))
    seconds: dict[str, list[float]] = {"one": [], "running": [], "whole": []}
    same = 0
    for _ in range(repeats):
        answers: dict[str, list[str]] = {}
        for name in seconds:
            started = time.perf_counter()
            if name == "one":
                answers[name] = one_by_one(single, asked)
            else:
                answers[name] = batched(answerer, asked, batch, refill=name == "running")
            seconds[name].append(time.perf_counter() - started)
        same = sum(a == b for a, b in zip(answers["one"], answers["running"], strict=True))
    return {name: statistics.median(values) for name, values in seconds.items()}, same


def main() -> None:
    """Measure and print the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=["micro", "smollm2"], default="micro")
    parser.add_argument("--model", type=Path, help="A checkpoint of template `bare` instead of random weights.")
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--longest", type=int, default=64, help="Bound on the longest answer.")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = told.model or random_model(Path(scratch), told.shape)
        asked = questions(Path(scratch), told.questions, told.longest)
        seconds, same = measure(folder, asked, told.batch, told.repeats)
    ratios = f"{seconds['one'] / seconds['running']:.1f}x; {seconds['one'] / seconds['whole']:.1f}x without refilling"
    name = "trained" if told.model else told.shape
    sys.stdout.write(
        f"| {told.questions} questions, {name}, batch {told.batch} | one by one {seconds['one']:.2f} s, batched "
        f"{seconds['running']:.2f} s: {ratios}; {same} answers the same |\n"
    )


if __name__ == "__main__":
    main()
