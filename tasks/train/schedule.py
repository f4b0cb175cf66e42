"""Learning rate and number of steps: pure functions."""

from __future__ import annotations

import math

from configs.schema import StageConfig


def total_steps(config: StageConfig, samples: int) -> int:
    """Optimizer steps of a stage: the exact number, or `epochs` over its samples, the last step filled up."""
    if config.steps is not None:
        return config.steps
    return max(1, math.ceil(config.epochs * samples / config.batch))


def rate(step: int, steps: int, warmup_share: float) -> float:
    """Factor on the learning rate for update `step` (from 0): linear warm-up, then a cosine down to 0.

    As in transformers' cosine schedule, which LLaVA uses; the first update is not wasted on a rate of 0.
    """
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
