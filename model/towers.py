"""Vision towers: which kinds there are, and which of their tokens are features of the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from transformers import PreTrainedModel

from model.efficientnet import EfficientNetLiteConfig
from model.errors import ModelError

Strategy = Literal["default", "full"]


@dataclass(frozen=True)
class TowerKind:
    """A kind of vision tower. `class_token`: its first token stands for the whole image and is no feature."""

    class_token: bool

    @property
    def strategy(self) -> Strategy:
        """transformers' name for what is taken: "default" leaves the first token out."""
        return "default" if self.class_token else "full"


KINDS: dict[str, TowerKind] = {
    "clip_vision_model": TowerKind(class_token=True),
    "siglip_vision_model": TowerKind(class_token=False),
    "dinov2": TowerKind(class_token=True),
    EfficientNetLiteConfig.model_type: TowerKind(class_token=False),
}
"""By transformers' `model_type`."""


def kind_of(config: Any) -> TowerKind:
    """The kind of a tower by its config. Raises ModelError for one that is not known."""
    try:
        return KINDS[config.model_type]
    except KeyError:
        raise ModelError(
            f"a vision tower of type {config.model_type!r} is not known; there are: {', '.join(KINDS)}"
        ) from None


def tower_of(model: PreTrainedModel) -> PreTrainedModel:
    """The tower of a model that may have a text tower beside it (CLIP, SigLIP)."""
    tower = getattr(model, "vision_model", model)
    return tower if isinstance(tower, PreTrainedModel) else model


def features_of(config: Any, pixels: int) -> int:
    """Features of an image of `pixels` on each side: one a patch.

    Raises ModelError if the tower does not take images of that size, or cannot cut them into whole patches.
    """
    if pixels % config.patch_size:
        raise ModelError(f"images of {pixels} pixels cannot be cut into patches of {config.patch_size}")
    # DINOv2 interpolates its position embeddings; the others know one size.
    if config.model_type != "dinov2" and pixels != config.image_size:
        raise ModelError(
            f"the image processor makes images of {pixels} pixels, the vision tower takes {config.image_size}: "
            "they are not of one model"
        )
    return int((pixels // config.patch_size) ** 2)


def check_feature_layer(config: Any, layer: int) -> None:
    """Raise ModelError if the tower has no hidden state of that number."""
    states = config.num_hidden_layers + 1
    if not -states <= layer < states:
        raise ModelError(f"train.projector.feature_layer is {layer}, but the vision tower has {states} hidden states")
