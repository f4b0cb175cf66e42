"""Training beside Hugging Face's Trainer and TRL: the same model, samples, optimizer and allocator settings.

    python -m tests.benchmarks.train [--samples N] [--repeats R] [--peer-repeats R] [--stages align instruct]
    python -m tests.benchmarks.train --device cuda --shape 1b

SmolLM2-135M's shape behind a CLIP tower of 22M (196 patch tokens), weights drawn at random, bf16, fused AdamW, one
optimizer step of N samples a pass. Samples are as long as those of LLaVA-Instruct (tests/benchmarks/training/data.py).
Each mode is a process of its own. Passes of `grouped` and `ours` take turns, R each after two that warm up, and then
those of `ours` and `two ranks`: as many as 24 GB hold at a time. `random` and `trl`, which need most memory and time,
come before, by themselves. Figures are medians.
Peers get their samples tokenised and decoded; ours reads, tokenises and decodes within the time. Prints markdown.
It needs torch, transformers and deepspeed; rows of TRL are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from model.flops import LanguageShape, Load, VisionShape, flops_of
from tests.benchmarks.training.data import SHAPES, Shape, write_base, write_shards
from tests.benchmarks.training.gate import MARK

PROJECT = Path(__file__).resolve().parents[2]
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_TOP_PAD_": str(1 << 26),
}
ALONE = ("random", "trl")
WARM_UP = 2
"""Passes of a process that do not count: to touch memory for the first time costs more than the arithmetic."""
PAIRS = (("grouped", "ours"), ("ours", "two ranks"))
LOCAL = {"MASTER_ADDR": "127.0.0.1"}
PARTS = ("vision", "language", "head", "backward", "optimizer", "data")


@dataclass
class Process:
    """A measuring process, of one or more ranks."""

    name: str
    told: dict[str, Any]
    ranks: int = 1
    passes: list[dict[str, Any]] = field(default_factory=list)
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def __enter__(self) -> Process:
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            json.dump(self.told, file)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ours = self.told["mode"] == "ours"
        for rank in range(self.ranks):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.ranks, "MASTER_PORT": port} | LOCAL
            threads = {"OMP_NUM_THREADS": self.told["threads"]}
            tools = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
            environment = {name: str(value) for name, value in ((place if ours else {}) | threads | _quiet()).items()}
            self.running.append(
                subprocess.Popen(
                    [sys.executable, "-m", "tests.benchmarks.training.child", file.name], cwd=PROJECT, text=True,
                    env=os.environ | ALLOCATOR | environment | {"PATH": tools}, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE, stderr=None if os.environ.get("VERBOSE") else subprocess.DEVNULL,
                )
            )
        self._heard()
        return self

    def go(self, keep: bool = True) -> None:
        """One pass on every rank."""
        for process in self.running:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        told = self._heard()
        self._heard()
        sys.stderr.write(f"{self.told['stage']} {self.name}: {told}\n")
        if keep:
            self.passes.append(told)

    def _heard(self) -> dict[str, Any]:
        """The next line of rank 0, with the memory of all."""
        lines = [self._line(process) for process in self.running]
        return lines[0] | {"peak_gb": sum(line.get("peak_gb", 0.0) for line in lines)}

    def _line(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(MARK):
                return dict(json.loads(line.removeprefix(MARK)))
        raise SystemExit(f"{self.name} ended before its time; VERBOSE=1 shows what it said")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.running:
            process.kill()
            process.wait()
        self.running.clear()


def _quiet() -> dict[str, str]:
    extensions = os.environ.get("TORCH_EXTENSIONS_DIR") or str(Path(sys.prefix) / "torch_extensions")
    return {
        "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TORCH_EXTENSIONS_DIR": extensions,
        "TRANSFORMERS_VERBOSITY": "error",
    }


def measure(stage: str, told: argparse.Namespace, common: dict[str, Any]) -> tuple[dict[str, Process], float]:
    """The processes with their passes, and the ceiling in operations a second."""
    modes = [mode for mode in told.modes if mode != "trl" or importlib.util.find_spec("trl")]
    made = {mode: _process(mode, stage, common) for mode in modes}
    ceiling = _process("ceiling", stage, common)
    for mode in ALONE:
        if mode in made:
            with made[mode] as alone:
                for _ in range(told.peer_repeats):
                    alone.go()
    for pair in PAIRS:
        with ExitStack() as stack:
            together = [stack.enter_context(made[mode]) for mode in pair if mode in made]
            stack.enter_context(ceiling)
            for at in range(told.repeats + WARM_UP if together else 0):
                for process in [*together, ceiling]:
                    process.go(keep=at >= WARM_UP)
    return made, statistics.median(one["flops"] for one in ceiling.passes)


def _process(mode: str, stage: str, common: dict[str, Any]) -> Process:
    ranks = 2 if mode == "two ranks" else 1
    kind = "ours" if mode == "two ranks" else mode
    told = common | {"mode": kind, "stage": stage, "threads": max(1, common["threads"] // ranks)}
    return Process(mode, told, ranks)


def rows(stage: str, made: dict[str, Process], flops: float, ceiling: float) -> list[str]:
    """Markdown rows. `flops`: operations a token."""
    speeds = {
        mode: statistics.median(one["tokens"] / one["seconds"] for one in process.passes)
        for mode, process in made.items()
    }
    peaks = {mode: max(one["peak_gb"] for one in process.passes) for mode, process in made.items()}
    lines = []
    for mode, process in made.items():
        spread = [one["tokens"] / one["seconds"] for one in process.passes]
        against = ", ".join(
            f"{speeds[mode] / speeds[peer]:.2f} x {peer}" for peer in made if peer != mode and mode == "ours"
        )
        lines.append(
            f"| {stage} | {mode} | {speeds[mode]:.0f} ({min(spread):.0f} to {max(spread):.0f}, {len(spread)} passes) | "
            f"{peaks[mode]:.1f} | {speeds[mode] * flops / ceiling:.0%} of {ceiling / 1e9:.0f} | {against} |"
        )
    if "ours" in made and made["ours"].passes[0]["parts"]:
        lines.append(f"\n{stage}, ours, where a pass goes: {breakdown(made['ours'].passes)}\n")
    return lines


def breakdown(passes: Sequence[dict[str, Any]]) -> str:
    """Median seconds of the parts of a pass, and how full rows were."""
    whole = statistics.median(one["seconds"] for one in passes)
    named = {part: statistics.median(one["parts"].get(part, 0.0) for one in passes) for part in PARTS}
    told = ", ".join(f"{part} {seconds:.2f} s ({seconds / whole:.1%})" for part, seconds in named.items())
    return f"{told}; whole {whole:.2f} s; rows {passes[0]['fill']:.0%} full"


def flops_a_token(shape: Shape, stage: str, tokens: float, supervised: float, samples: int) -> float:
    """Operations that training takes a token, on the mean sample (model/flops.py)."""
    held, tower = shape.language, shape.vision
    language = LanguageShape(
        held["hidden_size"], held["intermediate_size"], held["num_hidden_layers"], held["vocab_size"],
        held["num_key_value_heads"] / held["num_attention_heads"],
    )
    patches = (tower["image_size"] // tower["patch_size"]) ** 2
    vision = VisionShape(tower["hidden_size"], tower["intermediate_size"], tower["num_hidden_layers"], patches)
    load = Load(tokens / samples, supervised / samples, 1.0)
    return flops_of(load, language, vision, language_trains=stage != "align") * samples / tokens


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16, help="Samples a step; a multiple of 4.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=1, help="Passes of random and trl.")
    parser.add_argument("--stages", nargs="+", default=["instruct", "align"])
    parser.add_argument("--modes", nargs="+", default=["random", "trl", "grouped", "ours", "two ranks"])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--row-tokens", type=int, default=2048)
    parser.add_argument("--cache", type=Path, help="A folder for the model, to be kept.")
    told = parser.parse_args()
    shape = SHAPES[told.shape]
    with tempfile.TemporaryDirectory(prefix="train-benchmark-") as scratch:
        base = write_base((told.cache or Path(scratch)) / told.shape, shape, told.device)
        sys.stdout.write("| stage | mode | tokens/s | peak GB | share of the ceiling, GFLOP/s | ratios |\n")
        sys.stdout.write("|---|---|---|---|---|---|\n")
        for stage in told.stages:
            shards = write_shards(Path(scratch) / stage, told.samples, stage)
            common = {
                "base": str(base), "shards": str(shards), "samples": told.samples, "device": told.device,
                "row_tokens": told.row_tokens, "threads": told.threads,
                "options": {"shape": told.shape},
            }
            made, ceiling = measure(stage, told, common)
            first = next((made[mode].passes[0] for mode in ("ours", "two ranks") if mode in made), None)
            tokens, supervised = (first["tokens"], first["supervised"]) if first else (413.0, 130.0)
            flops = flops_a_token(shape, stage, tokens, supervised, told.samples if first else 1)
            sys.stdout.write("\n".join(rows(stage, made, flops, ceiling)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
