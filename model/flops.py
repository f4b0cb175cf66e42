"""Floating-point operations of LLaVA training, and the hours they take on a named device. Pure arithmetic: no torch.

Two operations a multiply-add, matrix products alone, causal attention counted half. A backward pass through frozen
layers costs once the forward pass, through trained ones twice. Recomputed activations are not counted (this is model
FLOPs utilisation, MFU, not hardware's).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    heads: int = 32
    tied: bool = False
    """The head's weights are those of the embeddings."""

    @property
    def weights(self) -> float:
        """Weights of the layers' matrices: attention and gated feed-forward."""
        attention = (2 + 2 * self.key_value_share) * self.hidden**2
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def linears(self) -> dict[str, tuple[float, float]]:
        """Inputs and outputs of a layer's matrices, by their names in transformers."""
        hidden, inner, shared = self.hidden, self.intermediate, self.key_value_share * self.hidden
        return {
            "q_proj": (hidden, hidden), "k_proj": (hidden, shared), "v_proj": (hidden, shared),
            "o_proj": (hidden, hidden), "gate_proj": (hidden, inner), "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }

    @property
    def parameters(self) -> float:
        """All of them: embeddings, head and norms, too."""
        words = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.weights + words + (2 * self.layers + 1) * self.hidden


@dataclass(frozen=True)
class AdapterShape:
    """Low-rank adapters of a language model's layers, whose own weights are frozen beside them (LoRA)."""

    rank: int
    targets: frozenset[str] | None = None
    """Names of linear layers; None for all of them."""
    dropout: bool = False

    def linears(self, language: LanguageShape) -> dict[str, tuple[float, float]]:
        """Inputs and outputs of the layers that have adapters, by name."""
        own = language.linears
        return {name: sizes for name, sizes in own.items() if self.targets is None or name in self.targets}

    def parameters(self, language: LanguageShape) -> float:
        """Of all layers."""
        return language.layers * self.rank * sum(sum(sizes) for sizes in self.linears(language).values())


@dataclass(frozen=True)
class VisionShape:
    """A ViT. `features` are the tokens that an image gives the language model."""

    hidden: int
    intermediate: int
    layers: int
    features: int
    patch: int = 14

    @property
    def weights(self) -> float:
        """Weights of the layers' matrices."""
        return self.layers * (4.0 * self.hidden**2 + 2 * self.hidden * self.intermediate)

    @property
    def operations(self) -> float:
        """Of an image's forward pass."""
        return 2 * self.weights * self.features

    @property
    def parameters(self) -> float:
        """All of them: embeddings of patches and places, biases and norms, too."""
        embeddings = (3 * self.patch**2 + self.features + 1) * self.hidden
        return self.weights + embeddings + self.layers * (9 * self.hidden + self.intermediate)

    @property
    def states(self) -> float:
        """Numbers that an image's forward pass without gradients holds at its end: all hidden states, and a layer's."""
        return (self.features + 1) * ((self.layers + 1) * self.hidden + 2 * self.intermediate)


@dataclass(frozen=True)
class ConvolutionalShape:
    """A convolutional tower, by the figures of its authors."""

    hidden: int
    features: int
    operations: float
    parameters: float
    states: float


Tower = VisionShape | ConvolutionalShape


@dataclass(frozen=True)
class Load:
    """What a mean sample brings: tokens (image tokens counted), supervised ones of them, and images."""

    tokens: float
    supervised: float
    images: float


LANGUAGES = {
    "vicuna-7b": LanguageShape(4096, 11008, 32, 32000),
    "vicuna-13b": LanguageShape(5120, 13824, 40, 32000, heads=40),
}
TOWERS = {
    "clip-vit-large-patch14-336": VisionShape(1024, 4096, 24, 576),
    "clip-vit-large-patch14": VisionShape(1024, 4096, 24, 256),
}
"""Shapes of the recipes' models, by the beginning of their folder's name, the longer name first."""

A100_FLOPS = 312e12
"""Dense bf16 peak of an NVIDIA A100 a second (its data sheet)."""
PUBLISHED_MFU = {
    ("align", 576): 0.32, ("instruct", 576): 0.225, ("align", 256): 0.248, ("instruct", 256): 0.2,
}
"""Utilisation at which the published runs on A100s come out, by stage and image tokens: LLaVA v1.5 (576) and v1 (256).
Worked back from their hours (7B and 13B), and so an assumption for everything else."""
OFFICIAL_TEXT = {"align": (30.0, 20.0, 1.0), "instruct": (250.0, 120.0, 0.94)}
"""Text tokens, supervised ones of them, and images of a mean official sample; rough, for when no shards are there."""


def flops_of(
    load: Load, language: LanguageShape, vision: Tower, *, language_trains: bool, adapters: AdapterShape | None = None
) -> float:
    """Operations that a mean sample costs in training. The tower is frozen: forward alone."""
    return row_flops(
        [load.tokens], load.supervised, load.images, language, vision, language_trains=language_trains,
        adapters=adapters,
    )


def row_flops(
    lengths: Sequence[float], supervised: float, images: float, language: LanguageShape, vision: Tower | None, *,
    language_trains: bool, adapters: AdapterShape | None = None,
) -> float:
    """Operations that samples of these lengths cost in training, attention inside each of them.

    A tower of unknown shape (None) counts nothing. With adapters the language model itself is frozen, whatever
    `language_trains` says.
    """
    passes = 3.0 if language_trains and adapters is None else 2.0
    beside = 3.0 * 2 * adapters.parameters(language) * sum(lengths) if adapters else 0.0
    layers = 2 * language.weights * sum(lengths)
    attention = 2 * language.layers * language.hidden * sum(length**2 for length in lengths)
    head = 2 * language.hidden * language.vocabulary * supervised
    return passes * (layers + attention + head) + beside + (vision.operations * images if vision else 0.0)


def official_load(stage: str, vision: Tower) -> Load:
    """The mean sample of the official data of a stage (align, instruct)."""
    text, supervised, images = OFFICIAL_TEXT[stage]
    return Load(text + vision.features * images, supervised, images)


def device_hours(
    stage: str, samples: float, load: Load, language: LanguageShape, vision: Tower, adapters: AdapterShape | None = None
) -> float:
    """Hours of one A100 for so many samples, at the utilisation of the published runs (none of which had adapters)."""
    work = samples * flops_of(load, language, vision, language_trains=stage != "align", adapters=adapters)
    utilisation = PUBLISHED_MFU[stage, 576 if vision.features >= 576 else 256]
    return work / (A100_FLOPS * utilisation * 3600)


def shapes_of(language: str, vision: str) -> tuple[LanguageShape, VisionShape] | None:
    """The shapes of models by their folders; None where one of them is not a recipe's."""
    names = [path.rstrip("/").rsplit("/", 1)[-1].lower() for path in (language, vision)]
    found = next((shape for name, shape in LANGUAGES.items() if names[0].startswith(name)), None)
    tower = next((shape for name, shape in TOWERS.items() if names[1].startswith(name)), None)
    return None if found is None or tower is None else (found, tower)
