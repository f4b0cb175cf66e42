"""Root-mean-square norm and gated feed-forward of Llama-type layers, for training on CPU.

transformers writes them as chains of small operations, each of which reads and writes the whole row and keeps its
inputs for the backward pass, the norm's in fp32. Here the backward pass works out again what a pass over the input
gives, so a norm keeps one number a token, and a feed-forward its two products.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm"}
FEED_FORWARDS = {"LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP"}
"""Classes of transformers whose forward is the one written here; others stay as they are."""


def take_pieces(model: nn.Module) -> int:
    """Let a language model's norms and feed-forwards run as written here. Returns how many do. Weights stay put."""
    taken = 0
    for module in model.modules():
        kind = type(module).__name__
        if "forward" in vars(module):
            continue  # taken already
        if kind in NORMS:
            module.forward = _norm_of(module, module.forward)
        elif kind in FEED_FORWARDS and isinstance(module.act_fn, nn.SiLU | _silu_of_transformers()):
            module.forward = _feed_forward_of(module, module.forward)
        else:
            continue
        taken += 1
    return taken


def rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """weight * states / root of their mean square over the last dimension (Zhang and Sennrich 2019, arXiv 1910.07467).

    Mean and root are in fp32, the rest rounds as transformers does.
    """
    return cast(Tensor, _Norm.apply(states, weight, epsilon))  # type: ignore[no-untyped-call]


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020, arXiv 2002.05202)."""
    return cast(Tensor, _Gated.apply(gate, up))  # type: ignore[no-untyped-call]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        length = torch.linalg.vector_norm(states, dim=-1, keepdim=True, dtype=torch.float32)
        inverse = torch.rsqrt(length.square_().div_(states.shape[-1]).add_(epsilon))
        ctx.save_for_backward(states, weight, inverse)
        return _scaled(states, inverse).mul_(weight)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, Tensor | None, None]:
        states, weight, inverse = ctx.saved_tensors
        (given,) = wanted
        unit = _scaled(states, inverse)
        products = given * unit
        along = torch.matmul(products, weight).unsqueeze(-1).div_(-states.shape[-1])
        of_states = torch.addcmul(given * weight, unit, along)
        of_weight = None
        if ctx.needs_input_grad[1]:
            # A product sums over all tokens in fp32, and faster than a sum.
            rows = products.flatten(0, -2)
            of_weight = (rows.new_ones(1, len(rows)) @ rows)[0]
        return _scaled(of_states, inverse), of_weight, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        (given,) = wanted
        of_up = functional.silu(gate).mul_(given)
        return torch.ops.aten.silu_backward(given * up, gate), of_up


def _scaled(states: Tensor, factors: Tensor) -> Tensor:
    """Each token by its factor, which is in fp32, rounded once."""
    # By way of fp32 as a whole: twice as fast as to let one product mix the two.
    return (states.float() * factors).to(states.dtype)


def _norm_of(module: nn.Module, plain: Any) -> Any:
    def forward(hidden_states: Tensor) -> Tensor:
        if hidden_states.device.type != "cpu":
            return cast(Tensor, plain(hidden_states))
        return rms_norm(hidden_states, cast(Tensor, module.weight), cast(float, module.variance_epsilon))

    return forward


def _feed_forward_of(module: Any, plain: Any) -> Any:
    def forward(x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return cast(Tensor, plain(x))
        return cast(Tensor, module.down_proj(gated(module.gate_proj(x), module.up_proj(x))))

    return forward


def _silu_of_transformers() -> type[nn.Module]:
    from transformers.activations import ACT2FN

    return type(ACT2FN["silu"])
