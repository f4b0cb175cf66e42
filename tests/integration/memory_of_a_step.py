"""Peak memory of training steps on one rank: `python -m tests.integration.memory_of_a_step CASES`, a line of JSON each.

Every allocation of torch's CPU allocator is added up by torch's profiler: tensors, what autograd keeps, and what
operations allocate inside. That is what a device has to hold. The process' resident memory also holds libraries,
compiled code and what the C library keeps for later: more than a small model takes, and never the same twice.
"""

from __future__ import annotations

import gc
import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from configs.schema import StageConfig
from model.flops import AdapterShape, LanguageShape, VisionShape
from model.lora import Adapter, adapt
from model.memory import Memory, RowLoad, memory_of, setup_of, trained_parameters
from model.packed import PackedLlava, Row, collate
from model.stages import Stage, freeze_for
from model.tokenize import IGNORE, Encoded

IMAGE_ID = 3
ADAPTER = Adapter(r=16, alpha=32.0, dropout=0.05, targets="all-linear")
MARK = 12_345_678
"""Bytes that nothing else allocates."""


@dataclass(frozen=True)
class Shape:
    """Sizes of a LLaVA."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int
    tied: bool
    vision_hidden: int
    vision_layers: int
    pixels: int
    patch: int

    @property
    def features(self) -> int:
        """Image tokens."""
        return (self.pixels // self.patch) ** 2


SHAPES = {
    # As the experiment `shapes` has it.
    "micro": Shape(128, 384, 4, 4, 4, 1026, True, 128, 4, 64, 16),
    "tiny": Shape(256, 688, 4, 4, 2, 2048, False, 128, 4, 64, 16),
    "smollm2": Shape(576, 1536, 30, 9, 3, 49154, True, 384, 12, 224, 16),
}


@dataclass(frozen=True)
class Case:
    """What to measure. Each sample of a row has one image; `lengths` count its tokens, half of the text supervised."""

    shape: str
    stage: str
    precision: str
    zero: int
    lengths: tuple[int, ...]
    rows: int = 1
    lora: bool = False


def llava_of(shape: Shape) -> LlavaForConditionalGeneration:
    """The model with random weights."""
    vision = CLIPVisionConfig(
        hidden_size=shape.vision_hidden, intermediate_size=4 * shape.vision_hidden,
        num_hidden_layers=shape.vision_layers, num_attention_heads=4, image_size=shape.pixels, patch_size=shape.patch,
    )
    text = LlamaConfig(
        hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.key_value_heads, vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE_ID, vision_feature_layer=-2,
        vision_feature_select_strategy="default", image_seq_length=shape.features, tie_word_embeddings=shape.tied,
    )
    return LlavaForConditionalGeneration(config)


def row_of(shape: Shape, lengths: tuple[int, ...]) -> Row:
    """A row of samples of an image and words."""
    samples = []
    for length in lengths:
        words = [10 + at % 500 for at in range(length - shape.features)]
        ids = [IMAGE_ID] * shape.features + words
        half = length - len(words) // 2
        samples.append(Encoded(tuple(ids), (IGNORE,) * half + tuple(ids[half:]), turns=2))
    image = torch.zeros(3, shape.pixels, shape.pixels)
    return collate(samples, [image] * len(lengths), image, 0)


def estimate(case: Case) -> Memory:
    """The same by model/memory.py."""
    shape, trains = SHAPES[case.shape], case.stage != Stage.ALIGN
    language = LanguageShape(
        shape.hidden, shape.intermediate, shape.layers, shape.vocabulary, shape.key_value_heads / shape.heads,
        shape.heads, shape.tied,
    )
    vision = VisionShape(shape.vision_hidden, 4 * shape.vision_hidden, shape.vision_layers, shape.features, shape.patch)
    adapters = AdapterShape(ADAPTER.r, dropout=ADAPTER.dropout > 0) if case.lora else None
    setup = setup_of(
        {"zero_optimization": {"stage": case.zero}}, precision=case.precision, ranks=1, language_trains=trains,
        trained=trained_parameters(language, vision, language_trains=trains, adapters=adapters), on_cpu=True,
        adapters=adapters,
    )
    samples, tokens = len(case.lengths), sum(case.lengths)
    supervised = sum((length - shape.features) // 2 for length in case.lengths)
    return memory_of(language, vision, setup, RowLoad(tokens, supervised, samples))


def measure(case: Case) -> dict[str, int]:
    """Peak bytes of two steps, and bytes at rest."""
    from torch.profiler import ProfilerActivity, profile

    from tasks.train.engine import Engine, deepspeed_settings

    shape = SHAPES[case.shape]
    # What an earlier case left would be counted as given back by this one.
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        llava = llava_of(shape)
        freeze_for(llava, Stage(case.stage))
        if case.lora:
            adapt(llava, ADAPTER, 0)
        config = StageConfig(batch=1, lr=1e-3)
        zero = {"zero_optimization": {"stage": case.zero}, "zero_allow_untested_optimizer": True}
        engine = Engine(PackedLlava(llava), config, 10, deepspeed_settings(zero, config, case.precision, 1))
        engine.deepspeed.train()
        rows = [row_of(shape, case.lengths) for _ in range(case.rows)]
        supervised = sum(row.predict.numel() for row in rows)
        mark()
        for step in range(2):
            engine.step(step, rows, supervised)
            mark()
        # Before its groups go: a later case of this process would be given their numbers.
        engine.deepspeed.destroy()
    return peaks(seen)


def mark() -> None:
    """Leave an event by which the end of a step can be found among the allocator's."""
    torch.empty(MARK, dtype=torch.uint8)


def peaks(seen: Any) -> dict[str, int]:
    """Most bytes at a time over the steps, by the events of the allocator."""
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    held = most = rest = 0
    started = False
    for event in events:
        if event.nbytes() == MARK:
            started, rest = True, held
            continue
        if event.nbytes() == -MARK:
            continue
        held += event.nbytes()
        if started:
            most = max(most, held)
    return {"peak": most, "rest": rest}


def main() -> None:
    """Measure one case in this process."""
    cases = [Case(**{**told, "lengths": tuple(told["lengths"])}) for told in json.loads(sys.argv[1])]
    torch.manual_seed(0)
    torch.distributed.init_process_group("gloo")
    for case in cases:
        print(json.dumps({"case": asdict(case), **measure(case)}), flush=True)  # noqa: T201 (its output)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
