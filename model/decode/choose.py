"""Which token comes next."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from model.sampling import Sampling


def dice(sampling: Sampling, prompt: Sequence[int]) -> random.Random:
    """The draws of one answer: a pure function of the seed and the prompt."""
    told = f"{sampling.seed}:{','.join(map(str, prompt))}"
    return random.Random(int.from_bytes(hashlib.sha256(told.encode()).digest()[:8]))


def next_tokens(logits: Tensor, samplings: Sequence[Sampling], draws: Sequence[random.Random]) -> list[int]:
    """A token a row of `logits` [rows, vocabulary]. `torch.argmax` takes the first of equal ones, which is promised."""
    chosen: list[int] = logits.argmax(dim=-1).tolist()
    for row, (sampling, draw) in enumerate(zip(samplings, draws, strict=True)):
        if sampling.temperature > 0:
            chosen[row] = _drawn(logits[row], sampling, draw.random())
    return chosen


def _drawn(logits: Tensor, sampling: Sampling, uniform: float) -> int:
    """Nucleus sampling by the inverse of the cumulative distribution, in double precision."""
    probabilities = torch.softmax(logits.double() / sampling.temperature, dim=-1)
    ordered, ids = torch.sort(probabilities, descending=True, stable=True)
    cumulative = ordered.cumsum(0)
    kept = int((cumulative < sampling.top_p).sum()) + 1
    cumulative = cumulative[:kept]
    at = int((cumulative <= uniform * float(cumulative[-1])).sum())
    return int(ids[min(at, len(cumulative) - 1)])
