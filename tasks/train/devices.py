"""How much memory a worker's device has: looked up once, where a stage is started from."""

from __future__ import annotations

import psutil

from configs.schema import TrainConfig
from model.memory import GB

SYSTEM = 1.5 * GB
"""Of a worker's share of this machine's memory: what Python, Ray and the libraries take."""


def device_memory(train: TrainConfig) -> float | None:
    """Bytes that a worker may fill: by the experiment, the GPU's, or its share of this machine's memory.

    None where workers have GPUs and this machine has none to look at.
    """
    if train.device_memory is not None:
        return train.device_memory * GB
    if train.gpus_per_worker:
        import torch

        return float(torch.cuda.get_device_properties(0).total_memory) if torch.cuda.is_available() else None
    return max(0.0, float(psutil.virtual_memory().available) / train.workers - SYSTEM)
