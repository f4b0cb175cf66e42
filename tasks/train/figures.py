"""What a worker measures of itself: the matmul ceiling of its device, its share of it (MFU), its peak memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from model.flops import AdapterShape, LanguageShape, Tower, row_flops
from model.memory import GB
from model.packed import Row
from model.shapes import language_shape, vision_shape

CEILING_SECONDS, CEILING_ROUNDS = 0.4, 20
CPU_TOKENS, GPU_TOKENS = 512, 4096
"""Rows of the product: enough for full speed, and short."""


@dataclass(frozen=True)
class Utilisation:
    """Model FLOPs utilisation of a rank: operations that its samples need, over what its device can do in that time."""

    language: LanguageShape
    vision: Tower | None
    language_trains: bool
    adapters: AdapterShape | None
    ceiling: float
    """Operations a second of a matrix product at the model's shapes, on this rank while the others do the same."""

    def share(self, lengths: Sequence[int], rows: Sequence[Row], seconds: float) -> float:
        """Of a step whose samples have these lengths. Images of a tower of unknown shape are not counted."""
        supervised = sum(row.predict.numel() for row in rows)
        images = sum(row.pixel_values.shape[0] for row in rows if row.real_images)
        work = row_flops(
            lengths, supervised, images, self.language, self.vision, language_trains=self.language_trains,
            adapters=self.adapters,
        )
        return work / (max(seconds, 1e-9) * self.ceiling)


def utilisation_of(
    config: Any, device: torch.device, dtype: torch.dtype, *, language_trains: bool, adapters: AdapterShape | None
) -> Utilisation:
    """Measure the ceiling for a `LlavaConfig`; takes about half a second."""
    language = language_shape(config.text_config.to_dict())
    vision = vision_shape(config.vision_config.to_dict())
    ceiling = matmul_ceiling(language.hidden, language.intermediate, device, dtype)
    return Utilisation(language, vision, language_trains, adapters, ceiling)


def matmul_ceiling(hidden: int, intermediate: int, device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of [tokens, hidden] x [hidden, intermediate], the median of some rounds."""
    on_cpu = device.type == "cpu"
    tokens = CPU_TOKENS if on_cpu else GPU_TOKENS
    left = torch.full((tokens, hidden), 0.5, device=device, dtype=dtype)
    right = torch.full((hidden, intermediate), 0.5, device=device, dtype=dtype)
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < CEILING_ROUNDS and (not rates or time.perf_counter() - began < CEILING_SECONDS):
        started = time.perf_counter()
        torch.matmul(left, right)
        if not on_cpu:
            torch.cuda.synchronize(device)
        rates.append(2.0 * tokens * hidden * intermediate / max(time.perf_counter() - started, 1e-9))
    # The first round warms up.
    return median(rates[1:] or rates)


def peak_memory(device: torch.device) -> float:
    """Most memory so far, in GB: of torch's tensors on a GPU, resident memory of this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / GB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GB
