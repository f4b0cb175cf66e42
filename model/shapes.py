"""Shapes of models out of their `config.json`: for the plan, for memory and for utilisation. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from configs.schema import LoraConfig
from model.flops import AdapterShape, ConvolutionalShape, LanguageShape, Tower, VisionShape

EFFICIENTNET_LITE0 = ConvolutionalShape(1280, 49, 2 * 407e6, 3.4e6, 2.5e6)
"""Operations as its authors give them (407 million multiply-adds, tensorflow/tpu, efficientnet/lite); parameters
without the classifier. States: its widest feature map, 96 channels of 112 x 112, twice."""


def language_shape(config: Mapping[str, Any]) -> LanguageShape:
    """The shape of a Llama-type language model."""
    heads = int(config["num_attention_heads"])
    return LanguageShape(
        hidden=int(config["hidden_size"]),
        intermediate=int(config["intermediate_size"]),
        layers=int(config["num_hidden_layers"]),
        vocabulary=int(config["vocab_size"]),
        key_value_share=int(config.get("num_key_value_heads") or heads) / heads,
        heads=heads,
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def vision_shape(config: Mapping[str, Any], pixels: int | None = None) -> Tower | None:
    """The shape of a vision tower for images of `pixels` (its own size without); None for one that is not known."""
    if config.get("network") == "efficientnet-lite0":
        return EFFICIENTNET_LITE0
    if "num_attention_heads" not in config:
        return None
    side, patch = int(pixels or config["image_size"]), int(config["patch_size"])
    hidden = int(config["hidden_size"])
    return VisionShape(
        hidden=hidden,
        # DINOv2 tells a ratio.
        intermediate=int(config.get("intermediate_size") or hidden * int(config.get("mlp_ratio", 4))),
        layers=int(config["num_hidden_layers"]),
        features=(side // patch) ** 2,
        patch=patch,
    )


def adapter_shape(lora: LoraConfig | None, stage: str) -> AdapterShape | None:
    """The adapters that a stage (align, instruct, task) trains; None where it trains without."""
    if lora is None or stage not in lora.stages:
        return None
    targets = None if lora.targets == "all-linear" else frozenset(lora.targets)
    return AdapterShape(lora.r, targets, dropout=lora.dropout > 0)
