from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import model.loss
from model.loss import summed_cross_entropy, take_targets


def drawn(positions: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(positions)
    hidden = torch.randn(positions, 12, generator=draw).requires_grad_()
    weight = torch.randn(50, 12, generator=draw).requires_grad_()
    return hidden, weight, torch.randint(0, 50, (positions,), generator=draw)


@pytest.mark.parametrize("chunk", [1, 5, 1024])
def test_parts_give_the_loss_and_gradients_of_the_whole(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(model.loss, "CHUNK", chunk)
    hidden, weight, targets = drawn(17)
    wanted = functional.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    found = summed_cross_entropy(hidden, weight, targets)
    torch.testing.assert_close(found, wanted)
    for here, there in zip(
        torch.autograd.grad(found * 0.3, (hidden, weight)), torch.autograd.grad(wanted * 0.3, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(here, there, rtol=1e-5, atol=1e-6)


def test_a_frozen_head_hands_the_gradient_on_and_gets_none() -> None:
    hidden, weight, targets = drawn(9)
    frozen = weight.detach()
    summed_cross_entropy(hidden, frozen, targets).backward()
    assert hidden.grad is not None
    assert frozen.grad is None


def test_scores_of_all_positions_are_never_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.loss, "CHUNK", 4)
    hidden, weight, targets = drawn(16)
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        summed_cross_entropy(hidden, weight, targets)
    assert sum(kept) <= hidden.numel() + weight.numel()


@pytest.mark.parametrize("bias", [True, False])
def test_a_head_that_takes_targets_still_gives_scores_without(bias: bool) -> None:
    hidden, _, targets = drawn(6)
    head = nn.Linear(12, 50, bias=bias)
    plain = head(hidden)
    take_targets(head)
    torch.testing.assert_close(head(hidden), plain)
    torch.testing.assert_close(
        head(hidden, targets), functional.cross_entropy(plain, targets, reduction="sum")
    )
