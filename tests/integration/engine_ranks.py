"""One rank of the training engine without Ray: `python -m tests.integration.engine_ranks BASE OUT`.

OUT/cases.json lists the cases; for each, rank 0 writes the loss of every step and the final weights to OUT/<name>.npz.
`reference` does the same in plain torch, one sample at a time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch

from configs.schema import StageConfig
from model.build import Assembled, assemble
from model.lora import Adapter, adapt, merged
from model.packed import PackedLlava, Row, collate
from model.packing import spread
from model.stages import Stage, freeze_for
from model.tokenize import IGNORE, Encoded
from tests.fakes.tiny_base import IMAGE_SIZE, IMAGE_TOKENS

STEPS, BATCH = 4, 6
DUMMY = torch.zeros(3, IMAGE_SIZE, IMAGE_SIZE)
CONFIG = StageConfig(batch=BATCH, steps=STEPS, lr=2e-3, projector_lr=4e-3, weight_decay=0.01, grad_clip=0.5)
Sample = tuple[Encoded, list[torch.Tensor]]


class Case(TypedDict):
    """One run of the engine."""

    name: str
    zero: int
    row_tokens: int
    arrangement: str
    precision: NotRequired[str]
    """fp32 where it does not say."""
    save_at: NotRequired[int]
    """Write a checkpoint after this step, and end there."""
    load: NotRequired[str]
    """Name of the case whose checkpoint to go on from, on however many ranks that ran."""
    lora: NotRequired[bool]
    """Train adapters and projector; the weights written are the merged ones."""


SAVE_AT = 2
ADAPTER = Adapter(r=4, alpha=8.0, dropout=0.0)


def sample(assembled: Assembled, number: int, images: int) -> Sample:
    """A sample of random words, the last half supervised, with so many images at its start."""
    draw = torch.Generator().manual_seed(number)
    length = int(torch.randint(6, 60, (1,), generator=draw))
    words = torch.randint(10, 200, (length,), generator=draw).tolist()
    ids = [1, *[assembled.llava.config.image_token_id] * (IMAGE_TOKENS * images), *words]
    labels = [IGNORE] * (len(ids) - length // 2) + ids[len(ids) - length // 2 :]
    pixels = [torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=draw) for _ in range(images)]
    return Encoded(tuple(ids), tuple(labels), turns=2), pixels


def images_in(arrangement: str, number: int) -> int:
    """How many images a sample has: none, one, several, or each in turn."""
    return {"text": 0, "one": 1, "several": 2, "mixed": number % 3}[arrangement]


def steps_of(assembled: Assembled, arrangement: str) -> list[list[Sample]]:
    """The samples of each step; a step of `alternating` is all text or all images."""
    made = []
    for step in range(STEPS):
        numbers = range(step * BATCH, (step + 1) * BATCH)
        if arrangement == "alternating":
            made.append([sample(assembled, number, step % 2) for number in numbers])
        else:
            made.append([sample(assembled, number, images_in(arrangement, number)) for number in numbers])
    return made


def row_of(samples: list[Sample]) -> Row:
    """The packed row of some samples."""
    return collate([encoded for encoded, _ in samples], [image for _, images in samples for image in images], DUMMY, 0)


def supervised(samples: list[Sample]) -> int:
    """Supervised tokens of a step."""
    return sum(label != IGNORE for encoded, _ in samples for label in encoded.labels)


def assembled_for(base: Path, *, lora: bool = False) -> Assembled:
    """The model every run starts from."""
    made = assemble(base, "mlp2x_gelu", -2, "square", 0)
    freeze_for(made.llava, Stage.INSTRUCT)
    if lora:
        adapt(made.llava, ADAPTER, 0)
    return made


def reference(base: Path, arrangement: str, *, lora: bool = False) -> dict[str, Any]:
    """Losses and final weights by plain torch: every sample by itself, gradients summed, one optimizer."""
    from tasks.train.engine import parameter_groups
    from tasks.train.schedule import rate

    made = assembled_for(base, lora=lora)
    model = PackedLlava(made.llava)
    groups = parameter_groups(model, CONFIG)
    optimizer = torch.optim.AdamW(groups, lr=CONFIG.lr, betas=CONFIG.betas)
    losses = []
    for step, samples in enumerate(steps_of(made, arrangement)):
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * rate(step, STEPS, CONFIG.warmup_share)
        total = 0.0
        for one in samples:
            loss = model(row_of([one])) / supervised(samples)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_([part for group in groups for part in group["params"]], CONFIG.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return {"losses": np.array(losses), **arrays(merged(made.llava.state_dict(), ADAPTER))}


def arrays(weights: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Weights as arrays."""
    return {f"weights.{name}": value.float().numpy() for name, value in weights.items()}


def run(base: Path, out: Path, case: Case, rank: int, ranks: int) -> dict[str, Any] | None:
    """The same by the engine, packed, on this rank of several."""
    from tasks.train.engine import Engine, deepspeed_settings
    from tasks.train.partitions import Partitions

    made = assembled_for(base, lora=case.get("lora", False))
    precision = case.get("precision", "fp32")
    settings = {"zero_optimization": {"stage": case["zero"]}, "zero_allow_untested_optimizer": True}
    engine = Engine(PackedLlava(made.llava), CONFIG, STEPS, deepspeed_settings(settings, CONFIG, precision, ranks))
    first = 0
    if "load" in case:
        first = SAVE_AT
        files = sorted((out / f"{case['load']}.checkpoint").glob("part-*"))
        Partitions(engine.deepspeed).load(files, rank, first)
    losses = []
    for step, samples in list(enumerate(steps_of(made, case["arrangement"])))[first : case.get("save_at")]:
        rows = spread([len(encoded.ids) for encoded, _ in samples], ranks, case["row_tokens"])[rank]
        packed = [row_of([samples[at] for at in row]) for row in rows]
        losses.append(engine.step(step, packed, supervised(samples)).loss)
    if "save_at" in case:
        (folder := out / f"{case['name']}.checkpoint").mkdir(exist_ok=True)
        Partitions(engine.deepspeed).save(folder, rank)
    weights = engine.weights()
    engine.deepspeed.destroy()
    return None if weights is None else {"losses": np.array(losses), **arrays(merged(weights, ADAPTER))}


def main() -> None:
    """Run every case on this rank."""
    base, out = Path(sys.argv[1]), Path(sys.argv[2])
    cases: list[Case] = json.loads((out / "cases.json").read_text())
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    for case in cases:
        found = run(base, out, case, rank, ranks)
        if found is not None:
            np.savez(out / f"{case['name']}.npz", **found)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
