from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM

from model.pieces import gated, rms_norm, take_pieces
from tests.fakes.tiny_base import Language, save_tiny_base


def test_the_norm_and_its_gradients_are_those_of_its_formula() -> None:
    states = torch.randn(2, 7, 16).requires_grad_()
    weight = torch.randn(16).requires_grad_()
    wanted = weight * states * torch.rsqrt(states.square().mean(-1, keepdim=True) + 1e-5)
    agree(rms_norm(states, weight, 1e-5), wanted, (states, weight), 1e-5)


def test_the_gate_and_its_gradients_are_those_of_its_formula() -> None:
    gate, up = (torch.randn(3, 8).requires_grad_() for _ in range(2))
    agree(gated(gate, up), functional.silu(gate) * up, (gate, up), 1e-5)


def agree(found: Tensor, wanted: Tensor, inputs: tuple[Tensor, ...], tolerance: float) -> None:
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    slopes = torch.randn_like(wanted)
    for here, there in zip(
        torch.autograd.grad(found, inputs, slopes), torch.autograd.grad(wanted, inputs, slopes), strict=True
    ):
        torch.testing.assert_close(here, there, rtol=tolerance, atol=tolerance)


def test_in_bf16_the_norm_rounds_as_transformers_does() -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm: Any = LlamaRMSNorm(64)
    states = torch.randn(5, 64).bfloat16()
    norm.to(torch.bfloat16)
    with torch.no_grad():
        assert torch.equal(rms_norm(states, norm.weight, norm.variance_epsilon), norm(states))


@pytest.mark.parametrize("language", ["llama", "mistral", "qwen2", "qwen3"])
def test_a_language_model_computes_the_same_with_its_pieces_taken(tmp_path: Path, language: Language) -> None:
    folder = save_tiny_base(tmp_path, language=language) / "language"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(20).reshape(1, 20)
    plain = model(input_ids=ids, labels=ids)
    plain.loss.backward()
    wanted = {name: part.grad.clone() for name, part in model.named_parameters()}
    model.zero_grad()
    # Two norms and a feed-forward a layer, the last norm; Qwen 3 has two norms more in its attention.
    assert take_pieces(model) == 2 * (5 if language == "qwen3" else 3) + 1
    assert take_pieces(model) == 0
    found = model(input_ids=ids, labels=ids)
    found.loss.backward()
    torch.testing.assert_close(found.logits, plain.logits, rtol=1e-5, atol=1e-5)
    for name, part in model.named_parameters():
        torch.testing.assert_close(part.grad, wanted[name], rtol=1e-4, atol=1e-6, msg=name)


def test_what_is_not_known_stays_as_it_is() -> None:
    config = AutoConfig.for_model(
        "gemma", hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, vocab_size=32,
    )
    assert take_pieces(AutoModelForCausalLM.from_config(config)) == 0
    assert take_pieces(nn.Linear(2, 2)) == 0
