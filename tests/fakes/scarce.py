"""Training workers whose memory takes rows up to a length only."""

from __future__ import annotations

from typing import Any

LONGEST = 100
"""Tokens of a row of several samples that still fits."""


def train_where_rows_must_be_short(told: dict[str, Any]) -> None:
    """`train_loop_per_worker` on such a device: the last rank fails in the middle of a step, the others go on into its
    collectives.
    """
    import torch

    from model.packed import PackedLlava, Row
    from tasks.train.worker import train_loop_per_worker

    whole = PackedLlava.forward

    def forward(self: PackedLlava, row: Row) -> torch.Tensor:
        import ray.train

        context = ray.train.get_context()
        if context.get_world_rank() == context.get_world_size() - 1 and row.tokens > LONGEST:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return whole(self, row)

    PackedLlava.forward = forward  # type: ignore[method-assign]
    try:
        train_loop_per_worker(told)
    finally:
        PackedLlava.forward = whole  # type: ignore[method-assign]
