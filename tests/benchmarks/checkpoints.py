"""What checkpoints cost, and how soon training goes on: rows for docs/benchmarks.md.

    python -m tests.benchmarks.checkpoints [--width 512] [--layers 8] [--steps 12] [--rounds 3] [--interval 60]

One rank on all cores trains a model of that size in fp32, blocks of steps with a checkpoint in their middle and blocks
without in turns; the difference of the medians is what a checkpoint costs, set against one a minute. Then it measures
how long the state of a late step takes to be found, checked and loaded, and the first step's samples to be planned,
early and late in an epoch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from configs.schema import StageConfig
from tasks.train.state import State

IDENTITY = {"settings": "benchmark"}


def main() -> int:
    """Run it and print the rows."""
    asked = _arguments()
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with tempfile.TemporaryDirectory(prefix="llavaflow-checkpoints-") as folder:
        sys.stdout.write(_cost(asked, Path(folder)))
    sys.stdout.write(_positions())
    return 0


def _cost(asked: argparse.Namespace, folder: Path) -> str:
    from tasks.train.checkpoints import Checkpoints
    from tasks.train.keeping import Keeper
    from tasks.train.partitions import Partitions
    from tasks.train.place import Place, scratch_at

    engine, rows, supervised = _engine(asked)
    place = Place(str(folder / "place"))
    config = StageConfig(batch=1, lr=1e-4, checkpoint_every=1_000_000, checkpoint_minutes=None)
    store = Checkpoints(place, folder, 1)
    partitions, scratch = Partitions(engine.deepspeed), scratch_at(place, folder)
    keeper = Keeper(engine, partitions, store, scratch, 0, config, lambda message: None)
    times: dict[bool, list[float]] = {True: [], False: []}
    wrote, step = [], 0
    for turn in range(2 * asked.rounds + 1):
        kept, started = turn % 2 == 1, time.perf_counter()
        for at in range(asked.steps):
            engine.step(step, rows, supervised, keeper.said())
            step += 1
            if kept and at == 1:
                keeper.keep(State(step=step, identity=IDENTITY, segments=[(0, 1)]))
        if turn:  # the first block warms up
            times[kept].append(time.perf_counter() - started)
        begun = time.perf_counter()
        keeper.wait()
        if kept:
            wrote.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    keeper.keep_and_wait(State(step=step, identity=IDENTITY, segments=[(0, 1)]))
    alone = time.perf_counter() - begun
    begun = time.perf_counter()
    keeper.restore(IDENTITY)
    restored = time.perf_counter() - begun
    with_one, without = statistics.median(times[True]), statistics.median(times[False])
    gigabytes, cost = keeper.bytes / 1e9, with_one - without
    still = statistics.median(keeper.seconds[:-1])
    return (
        f"| checkpoint of {gigabytes:.2f} GB beside {asked.steps} steps of {without / asked.steps:.2f} s | blocks with "
        f"{with_one:.2f} s, without {without:.2f} s (medians of {asked.rounds}, interleaved): {cost:+.2f} s, "
        f"{100 * cost / asked.interval:+.1f}% of training at one every {asked.interval:.0f} s; steps stood still for "
        f"{still:.2f} s, left to write after the block {max(wrote):.2f} s | written and waited for: "
        f"{alone / gigabytes:.1f} s/GB; checked and loaded: {restored / gigabytes:.1f} s/GB | "
        f"`python -m tests.benchmarks.checkpoints` |\n"
    )


def _engine(asked: argparse.Namespace) -> tuple[Any, list[Any], int]:
    """An engine, the rows of a step and their supervised tokens."""
    from model.build import assemble
    from model.packed import PackedLlava
    from model.stages import Stage, freeze_for
    from tasks.train.engine import Engine, deepspeed_settings
    from tests.fakes.tiny_base import save_tiny_base
    from tests.integration.engine_ranks import row_of, sample, supervised
    from tests.integration.test_ranks import environment, free_port

    os.environ |= environment(0, 1, free_port()) | {"OMP_NUM_THREADS": str(os.cpu_count())}
    torch.distributed.init_process_group("gloo")
    config = StageConfig(batch=1, lr=1e-4)
    with tempfile.TemporaryDirectory() as folder:
        made = assemble(save_tiny_base(Path(folder)), "mlp2x_gelu", -2, "square", 0)
    freeze_for(made.llava, Stage.INSTRUCT)
    # The engine trains whatever is under `llava`: a wide block beside the tiny model stands for its size.
    width = asked.width
    wide = [layer for _ in range(asked.layers) for layer in (torch.nn.Linear(width, width), torch.nn.GELU())]
    model = _Beside(PackedLlava(made.llava), torch.nn.Sequential(*wide), width, asked.tokens)
    settings = {"zero_optimization": {"stage": 2}, "zero_allow_untested_optimizer": True}
    engine = Engine(model, config, 1_000_000, deepspeed_settings(settings, config, "fp32", 1))  # type: ignore[arg-type]
    samples = [sample(made, number, 1) for number in range(4)]
    return engine, [row_of(samples)], supervised(samples)


class _Beside(torch.nn.Module):
    """A tiny LLaVA, and a block whose size makes that of the checkpoint and whose work makes the time of a step."""

    def __init__(self, tiny: torch.nn.Module, wide: torch.nn.Module, width: int, tokens: int) -> None:
        super().__init__()
        self.tiny, self.wide, self.width, self.tokens = tiny, wide, width, tokens

    def forward(self, row: Any) -> torch.Tensor:
        """The tiny model's loss, and a little of the block's."""
        loss: torch.Tensor = self.tiny(row) + 1e-3 * self.wide(torch.ones(self.tokens, self.width)).square().mean()
        return loss


def _positions(samples: int = 665_000, batch: int = 128) -> str:
    """Seconds until the samples of the next step are known, by the share of the epoch that is done."""
    from model.order import StepOrder

    steps = samples // batch
    found = []
    for share in (0.02, 0.98):
        begun = time.perf_counter()
        StepOrder(0, samples, batch).step(int(steps * share))
        found.append(f"{time.perf_counter() - begun:.2f} s at {share:.0%}")
    return (
        f"| samples of the next step of an epoch of {samples:,}, from nothing | {', '.join(found)}: no sample before "
        "it is read | | `python -m tests.benchmarks.checkpoints` |\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=2048, help="rows that the wide block works on in a step")
    parser.add_argument("--steps", type=int, default=12, help="in a block")
    parser.add_argument("--rounds", type=int, default=3, help="blocks of each kind")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds from one checkpoint to the next")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
