from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import model.attention
from model.attention import blockwise


def drawn(samples: int, heads: int, keys: int, length: int, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(length)
    query = torch.randn(samples, heads, length, size, generator=draw)
    key, value = (torch.randn(samples, keys, length, size, generator=draw) for _ in range(2))
    return query.requires_grad_(), key.requires_grad_(), value.requires_grad_()


@pytest.mark.parametrize("length", [1, 5, 16, 33, 300])
@pytest.mark.parametrize(("heads", "keys"), [(4, 4), (6, 2), (3, 1)])
def test_blocks_give_values_and_gradients_of_attention_as_torch_has_it(
    monkeypatch: pytest.MonkeyPatch, length: int, heads: int, keys: int
) -> None:
    monkeypatch.setattr(model.attention, "BLOCK", 16)
    inputs = drawn(2, heads, keys, length)
    wanted = functional.scaled_dot_product_attention(*inputs, is_causal=True, scale=0.3, enable_gqa=True)
    found = blockwise(*inputs, 0.3)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    slopes = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(0))
    for here, there in zip(
        torch.autograd.grad(found, inputs, slopes), torch.autograd.grad(wanted, inputs, slopes), strict=True
    ):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-5)


def test_in_bf16_gradients_are_as_near_to_the_truth_as_those_of_torch() -> None:
    exact = drawn(1, 4, 2, 200)
    slopes = torch.randn(exact[0].shape, generator=torch.Generator().manual_seed(0))
    truth = torch.autograd.grad(blockwise(*exact, 0.3), exact, slopes)
    query, key, value = rounded = [part.detach().bfloat16().requires_grad_() for part in exact]
    ours = torch.autograd.grad(blockwise(query, key, value, 0.3), rounded, slopes.bfloat16())
    out = functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=0.3, enable_gqa=True)
    theirs = torch.autograd.grad(out, rounded, slopes.bfloat16())
    for real, here, there in zip(truth, ours, theirs, strict=True):
        assert float((here - real).norm()) < 1.5 * float((there - real).norm())


def test_nothing_of_the_size_of_the_scores_is_kept_for_the_backward_pass() -> None:
    query, key, value = drawn(1, 2, 2, 128)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        blockwise(query, key, value, 0.3)
    assert sum(kept) == query.numel() + key.numel() + value.numel()
