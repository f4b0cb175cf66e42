"""Causal attention on CPU by matrix products, block of queries by block, in both directions.

The fused kernel of torch for CPUs is slow, its backward most of all (docs/experiments.md). Plain products are fast but
keep every score of every layer until the backward pass. Here a block of queries meets the keys up to its own end alone,
which leaves most of the masked half out, and nothing is kept but query, key and value: the backward pass works the
scores out again, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135, section 3.1).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

BLOCK = 64
"""Queries of a block. Smaller: more calls; larger: more of the masked half is computed (docs/experiments.md)."""


def blockwise(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention of query [samples, heads, length, size] over key and value [samples, fewer heads, length, size].

    Heads of the query that share a key stand side by side, as in grouped-query attention. Result as query.
    """
    return _Blockwise.apply(query, key, value, scale)  # type: ignore[no-any-return, no-untyped-call]


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.scale = scale
        asked, keys, values = _folded(query, key, value)
        result = torch.empty_like(asked)
        for start in range(0, query.shape[2], BLOCK):
            block, end = asked[:, :, start : start + BLOCK], min(query.shape[2], start + BLOCK)
            weights = _weights(block, keys[:, :end], scale, start)
            result[:, :, start:end] = torch.bmm(weights, values[:, :end]).view(block.shape)
        return result.view(query.shape)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value = ctx.saved_tensors
        asked, keys, values = _folded(query, key, value)
        given = wanted[0].reshape(asked.shape)
        of_query = torch.empty_like(asked)
        # Summed over blocks: in fp32, so that no bit is lost on the way.
        of_key = torch.zeros(keys.shape, dtype=torch.float32)
        of_value = torch.zeros_like(of_key)
        for start in range(0, query.shape[2], BLOCK):
            block, end = asked[:, :, start : start + BLOCK], min(query.shape[2], start + BLOCK)
            rows = block.reshape(len(keys), -1, block.shape[3])
            coming = given[:, :, start:end].reshape(rows.shape)
            weights = _weights(block, keys[:, :end], ctx.scale, start)
            of_value[:, :end] += torch.bmm(weights.transpose(1, 2), coming)
            of_weights = torch.bmm(coming, values[:, :end].transpose(1, 2))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[:, :, start:end] = torch.bmm(of_scores, keys[:, :end]).mul_(ctx.scale).view(block.shape)
            of_key[:, :end] += torch.bmm(of_scores.transpose(1, 2), rows)
        return (
            of_query.view(query.shape), of_key.mul_(ctx.scale).to(key.dtype).view(key.shape),
            of_value.to(value.dtype).view(value.shape), None,
        )


def _folded(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query as [samples * key heads, queries a key, length, size], the others as [samples * key heads, length, size].

    Queries that share a key are then rows of one product, and keys need no copies.
    """
    samples, heads, length, size = query.shape
    shared = heads // key.shape[1]
    flat = samples * key.shape[1]
    return (
        query.reshape(flat, shared, length, size), key.reshape(flat, length, size), value.reshape(flat, length, size)
    )


def _weights(block: Tensor, keys: Tensor, scale: float, start: int) -> Tensor:
    """Attention weights of a block of queries that begins at `start`, [flat, queries, keys]."""
    flat, shared, queries, size = block.shape
    scores = torch.bmm(block.reshape(flat, shared * queries, size) * scale, keys.transpose(1, 2))
    own = scores.view(flat, shared, queries, -1)[..., start:]
    own += torch.full((queries, queries), float("-inf"), dtype=block.dtype).triu_(1)
    return torch.softmax(scores, dim=-1)
