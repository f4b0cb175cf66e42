from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from model.build import assemble
from model.templates import template_named
from tests.fakes.tiny_base import save_tiny_base


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, large enough that answers differ; the end mark is likely enough that many answers end early."""
    folder = tmp_path_factory.mktemp("decode")
    assembled = assemble(save_tiny_base(folder / "base"), "mlp2x_gelu", -2, "square", seed=3)
    torch.manual_seed(5)
    with torch.no_grad():
        for weight in assembled.llava.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.25)
        assembled.llava.lm_head.weight[assembled.tokenizer.eos_token_id] *= 2
    assembled.save(folder / "model", template_named("bare"))
    for number in range(6):
        octets = torch.randint(0, 256, (40, 40, 3), generator=torch.Generator().manual_seed(number))
        Image.fromarray(octets.to(torch.uint8).numpy()).save(folder / f"{number}.png")
    return folder / "model"
