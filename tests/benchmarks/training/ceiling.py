"""What the machine's matrix products reach at the language model's own shapes, in bf16."""

from __future__ import annotations

import time

import torch

from tests.benchmarks.training.data import SHAPES
from tests.benchmarks.training.gate import Gate, Told

ROW = 2048
AT_LEAST = 0.5
"""Seconds a shape is measured for."""
BURST = 8


def run(told: Told, gate: Gate) -> None:
    """Floating-point operations a second at the feed-forward's shapes, the best of all; one pass a measurement."""
    shape = SHAPES[told.options["shape"]].language
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    while gate.go():
        started = time.perf_counter()
        best = max(rate(ROW, first, second, told.device) for first, second in ((hidden, inner), (inner, hidden)))
        gate.done(time.perf_counter() - started, 0, flops=best)


def rate(rows: int, inner: int, columns: int, device: str) -> float:
    """Operations a second of [rows, inner] x [inner, columns]."""
    left = torch.randn(rows, inner, device=device, dtype=torch.bfloat16)
    right = torch.nn.Linear(inner, columns, bias=False, device=device, dtype=torch.bfloat16)
    with torch.no_grad():
        right(left)
        calls, started = 0, _now(device)
        while (taken := _now(device) - started) < AT_LEAST:
            for _ in range(BURST):
                right(left)
            calls += BURST
    return 2.0 * rows * inner * columns * calls / taken


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()
