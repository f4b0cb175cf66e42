"""Cross-entropy of a linear head, some positions at a time: scores for the whole vocabulary are never there for all.

What the backward pass needs is worked out while a part's scores are there: one product for the head's gradient, one for
that of its input. So nothing is computed twice, and nothing of the size of positions x vocabulary is kept.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 1024
"""Positions at a time. Fewer are slower: the head is read anew for each part (docs/experiments.md)."""


def summed_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropy of `hidden @ weight.T` with targets: [positions, hidden], [vocabulary, hidden],
    [positions] to a scalar in fp32."""
    return _Summed.apply(hidden, weight, targets)  # type: ignore[no-any-return, no-untyped-call]


def take_targets(head: Any) -> None:
    """Let a linear head be called with targets as well: it then gives the sum of the cross-entropy instead of scores.

    The head's own weights are used within its own call, where ZeRO-3 has them whole.
    """

    def forward(hidden: Tensor, targets: Tensor | None = None) -> Tensor:
        if targets is None:
            return functional.linear(hidden, head.weight, head.bias)
        if head.bias is None:
            return summed_cross_entropy(hidden, head.weight, targets)
        scores = functional.linear(hidden, head.weight, head.bias)
        return functional.cross_entropy(scores.float(), targets, reduction="sum")

    head.forward = forward


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        wants_hidden, wants_weight, _ = ctx.needs_input_grad
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        of_hidden = torch.empty_like(hidden) if wants_hidden else None
        of_weight: Tensor | None = None
        for start in range(0, len(targets), CHUNK):
            part, wanted = hidden[start : start + CHUNK], targets[start : start + CHUNK, None]
            scores = torch.log_softmax(functional.linear(part, weight), dim=-1, dtype=torch.float32)
            total -= scores.gather(1, wanted).sum()
            if of_hidden is None and not wants_weight:
                continue
            # The gradient of the scores: probabilities less one at the target.
            scores.exp_().scatter_add_(1, wanted, scores.new_full((1, 1), -1.0).expand(len(wanted), 1))
            slopes = scores.to(hidden.dtype)
            del scores
            if of_hidden is not None:
                torch.mm(slopes, weight, out=of_hidden[start : start + CHUNK])
            if wants_weight:
                of_weight = slopes.T @ part if of_weight is None else of_weight.addmm_(slopes.T, part)
        ctx.save_for_backward(of_hidden, of_weight)
        return total

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        of_hidden, of_weight = ctx.saved_tensors
        return (
            None if of_hidden is None else of_hidden * wanted[0].to(of_hidden.dtype),
            None if of_weight is None else of_weight * wanted[0].to(of_weight.dtype),
            None,
        )
