"""Low-rank adapters (LoRA) in the language model, by peft: put in for training, merged into the weights at its end.

As LLaVA's finetune_lora.sh: every linear layer of the language model gets an adapter, its own weights and the
embeddings are frozen, and the projector trains in full beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from model.errors import ModelError
from model.stages import LANGUAGE, PROJECTOR, part_of

ADAPTER = "default"
"""peft's name for an adapter that is given none."""
ALL_LINEAR: Literal["all-linear"] = "all-linear"
INSIDE = f"model.{LANGUAGE}."
"""What the names of the language model's modules begin with; `lm_head` is beside it and gets no adapter."""
OURS, FACTORS = f".{ADAPTER}.weight", (".lora_A", ".lora_B")


@dataclass(frozen=True)
class Adapter:
    """What adapters are like. A merged weight is W + alpha / r * B A."""

    r: int
    alpha: float
    dropout: float
    targets: tuple[str, ...] | Literal["all-linear"] = ALL_LINEAR
    """Linear layers of the language model by the last part of their names (q_proj), or all of them."""

    @property
    def scaling(self) -> float:
        """Factor on B A."""
        return self.alpha / self.r


def adapt(llava: LlavaForConditionalGeneration, adapter: Adapter, seed: int) -> list[str]:
    """Put adapters in, frozen all but them and what trained before outside the language model. Start values come from
    `seed`; as B starts at 0, so does what they add. Returns the names of the trainable parameters.

    Raises ModelError for a target that the language model does not have.
    """
    outside = {
        name for name, parameter in llava.named_parameters() if parameter.requires_grad and part_of(name) != LANGUAGE
    }
    torch.manual_seed(seed)
    inject_adapter_in_model(_config_of(llava, adapter), llava)
    trainable = []
    for name, parameter in llava.named_parameters():
        parameter.requires_grad = name in outside or _factor_of(name) is not None
        if parameter.requires_grad:
            trainable.append(name)
    return trainable


def merged(weights: Mapping[str, Tensor], adapter: Adapter) -> dict[str, Tensor]:
    """The weights of an adapted model as those of the plain one, each in its own precision, worked out in fp32."""
    plain: dict[str, Tensor] = {}
    for name, value in weights.items():
        if _factor_of(name) is not None:
            continue
        module, inside, last = name.rpartition(".base_layer.")
        if not inside:
            plain[name] = value
            continue
        plain[f"{module}.{last}"] = value
        if last == "weight":
            down, up = (weights[f"{module}{factor}{OURS}"].float() for factor in FACTORS)
            plain[f"{module}.{last}"] = (value.float() + adapter.scaling * (up @ down)).to(value.dtype)
    return plain


def unwrap(llava: LlavaForConditionalGeneration) -> None:
    """Take the adapters out again, so that the model's parts have the names that plain transformers has for them. What
    the adapters learnt is lost to this object: take its weights first.
    """
    for name, module in list(llava.named_modules()):
        if isinstance(module, LoraLayer):
            parent, _, last = name.rpartition(".")
            setattr(llava.get_submodule(parent), last, module.get_base_layer())


def save_adapter(
    folder: Path, llava: LlavaForConditionalGeneration, weights: Mapping[str, Tensor], adapter: Adapter
) -> None:
    """Write adapters and projector as peft does, for `PeftModel.from_pretrained` on what the stage started from.

    `llava` is the plain model, `weights` are those of the adapted one.
    """
    config = _config_of(llava, adapter)
    config.modules_to_save = [PROJECTOR]
    config.inference_mode = True
    config.save_pretrained(str(folder))
    kept = {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": value.detach().cpu().contiguous()
        for name, value in weights.items()
        if _factor_of(name) is not None or part_of(name) == PROJECTOR
    }
    save_file(kept, folder / "adapter_model.safetensors", {"format": "pt"})


def _config_of(llava: LlavaForConditionalGeneration, adapter: Adapter) -> LoraConfig:
    """peft's configuration. The pattern keeps the vision tower out, whose layers have the same names."""
    names = sorted(_targets(llava, adapter))
    return LoraConfig(
        r=adapter.r, lora_alpha=adapter.alpha, lora_dropout=adapter.dropout,  # type: ignore[arg-type]
        target_modules=rf"{re.escape(INSIDE)}.*\.({'|'.join(names)})",
    )


def _targets(llava: LlavaForConditionalGeneration, adapter: Adapter) -> set[str]:
    there = set(_linear_layers(llava))
    wanted = there if adapter.targets == ALL_LINEAR else set(adapter.targets)
    if missing := sorted(wanted - there):
        raise ModelError(
            f"the language model has no linear layer called {', '.join(missing)}; train.lora.targets may name "
            f"{', '.join(sorted(there))}, or be all-linear"
        )
    return wanted


def _linear_layers(llava: LlavaForConditionalGeneration) -> Iterator[str]:
    for name, module in llava.named_modules():
        if name.startswith(INSIDE) and isinstance(module, nn.Linear):
            yield name.rpartition(".")[2]


def _factor_of(name: str) -> str | None:
    """Which factor of an adapter a parameter is; None for one of the model itself."""
    return next((factor for factor in FACTORS if name.endswith(f"{factor}{OURS}")), None)
