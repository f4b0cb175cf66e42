"""The tower's features are standardised by what its last batch norm knows, and stay so in bf16 and when it is saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from model.efficientnet import LARGEST, EfficientNetLiteConfig, EfficientNetLiteModel, from_weights, statistics_of
from tasks.train.engine import statistics_as_weights


@pytest.fixture(scope="module")
def tower() -> EfficientNetLiteModel:
    """Random weights."""
    torch.manual_seed(0)
    drawn = EfficientNetLiteModel(EfficientNetLiteConfig())
    return from_weights({name: value.clone() for name, value in drawn.network.state_dict().items()})


def test_statistics_are_those_of_samples_after_relu6() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    with torch.no_grad():
        norm.bias.copy_(torch.tensor([0.0, 1.0, -1.0, 4.0, 9.0]))
        norm.weight.copy_(torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0]))
    mean, deviation = statistics_of(norm)
    seen = (norm.bias + norm.weight * torch.randn(200_000, 5)).clamp(0, 6).detach()
    assert torch.allclose(mean, seen.mean(0), atol=0.02)
    assert torch.allclose(deviation, seen.std(0), atol=0.02)


def test_features_are_those_of_the_network_standardised_and_cut_off(tower: EfficientNetLiteModel) -> None:
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        places = tower.network.extract_features(images).flatten(2).transpose(1, 2)
        features = tower(images).last_hidden_state
    assert features.shape == (2, 49, 1280)
    torch.testing.assert_close(features, ((places - tower.mean) / tower.deviation).clamp(-LARGEST, LARGEST))
    assert not torch.equal(tower.mean, torch.zeros(1280))


def test_they_are_the_same_after_saving_and_nearly_so_in_bf16(tower: EfficientNetLiteModel, tmp_path: Path) -> None:
    tower.save_pretrained(tmp_path)
    again = EfficientNetLiteModel.from_pretrained(tmp_path)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        whole = tower(images).last_hidden_state
        assert torch.equal(again(images).last_hidden_state, whole)
        # As DeepSpeed does it: parameters alone change their type.
        for parameter in again.parameters():
            parameter.data = parameter.data.bfloat16()
        statistics_as_weights(again)
        short = again(images.bfloat16()).last_hidden_state
    assert short.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(short.float().flatten(), whole.flatten(), dim=0) > 0.95
