"""Floating-point operations of LLaVA training, and the hours they take on a named device. Pure arithmetic: no torch.

Two operations a multiply-add, matrix products alone, causal attention counted half. A backward pass through frozen
layers costs once the forward pass, through trained ones twice. Recomputed activations are not counted (this is model
FLOPs utilisation, MFU, not hardware's).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LanguageShape:
    """A Llama-type language model."""

    hidden: int
    intermediate: int
    layers: int
    vocabulary: int
    key_value_share: float = 1.0
    """Key-value heads of all heads."""

    @property
    def weights(self) -> float:
        """Weights of the layers' matrices: attention and gated feed-forward."""
        attention = (2 + 2 * self.key_value_share) * self.hidden**2
        return self.layers * (attention + 3 * self.hidden * self.intermediate)


@dataclass(frozen=True)
class VisionShape:
    """A ViT. `features` are the tokens that an image gives the language model."""

    hidden: int
    intermediate: int
    layers: int
    features: int

    @property
    def weights(self) -> float:
        """Weights of the layers' matrices."""
        return self.layers * (4.0 * self.hidden**2 + 2 * self.hidden * self.intermediate)


@dataclass(frozen=True)
class Load:
    """What a mean sample brings: tokens (image tokens counted), supervised ones of them, and images."""

    tokens: float
    supervised: float
    images: float


LANGUAGES = {
    "vicuna-7b": LanguageShape(4096, 11008, 32, 32000), "vicuna-13b": LanguageShape(5120, 13824, 40, 32000),
}
TOWERS = {
    "clip-vit-large-patch14-336": VisionShape(1024, 4096, 24, 576),
    "clip-vit-large-patch14": VisionShape(1024, 4096, 24, 256),
}
"""Shapes of the recipes' models, by the beginning of their folder's name, the longer name first."""

A100_FLOPS = 312e12
"""Dense bf16 peak of an NVIDIA A100 a second (its data sheet)."""
PUBLISHED_MFU = {"align": 0.32, "instruct": 0.225}
"""Utilisation at which the published runs of LLaVA v1.5 on A100s come out: worked back from their hours (7B and 13B),
and so an assumption for everything else."""
OFFICIAL_TEXT = {"align": (30.0, 20.0, 1.0), "instruct": (250.0, 120.0, 0.94)}
"""Text tokens, supervised ones of them, and images of a mean official sample; rough, for when no shards are there."""


def flops_of(load: Load, language: LanguageShape, vision: VisionShape, *, language_trains: bool) -> float:
    """Operations that a mean sample costs in training. The tower is frozen: forward alone."""
    passes = 3.0 if language_trains else 2.0
    layers = 2 * language.weights * load.tokens
    attention = 2 * language.layers * language.hidden * load.tokens**2
    head = 2 * language.hidden * language.vocabulary * load.supervised
    return passes * (layers + attention + head) + 2 * vision.weights * vision.features * load.images


def official_load(stage: str, vision: VisionShape) -> Load:
    """The mean sample of the official data of a stage (align, instruct)."""
    text, supervised, images = OFFICIAL_TEXT[stage]
    return Load(text + vision.features * images, supervised, images)


def device_hours(stage: str, samples: float, load: Load, language: LanguageShape, vision: VisionShape) -> float:
    """Hours of one A100 for so many samples, at the utilisation of the published runs."""
    work = samples * flops_of(load, language, vision, language_trains=stage != "align")
    return work / (A100_FLOPS * PUBLISHED_MFU[stage] * 3600)


def shapes_of(language: str, vision: str) -> tuple[LanguageShape, VisionShape] | None:
    """The shapes of models by their folders; None where one of them is not a recipe's."""
    names = [path.rstrip("/").rsplit("/", 1)[-1].lower() for path in (language, vision)]
    found = next((shape for name, shape in LANGUAGES.items() if names[0].startswith(name)), None)
    tower = next((shape for name, shape in TOWERS.items() if names[1].startswith(name)), None)
    return None if found is None or tower is None else (found, tower)
