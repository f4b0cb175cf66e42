"""Connect a vision tower and a language model: a `LlavaForConditionalGeneration` with its processor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from model.efficientnet import register
from model.errors import ModelError
from model.images import Aspect, ImageTransform, transform_of
from model.records import IMAGE_TOKEN
from model.templates import Template
from model.tokenize import ConversationTokenizer
from model.towers import check_feature_layer, features_of, kind_of, tower_of

ACTIVATIONS = {"linear": "linear", "mlp2x_gelu": "gelu"}
Projector = Literal["linear", "mlp2x_gelu"]


@dataclass
class Assembled:
    """A model and everything that goes with it."""

    llava: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    image_processor: Any
    aspect: Aspect

    @property
    def image_tokens(self) -> int:
        """Features of an image, which is how many tokens it takes."""
        return features_of(_vision_config(self.llava), self.transform().size)

    def transform(self) -> ImageTransform:
        """The training path's image transform."""
        return transform_of(self.image_processor, self.aspect)

    def conversations(self, template: Template) -> ConversationTokenizer:
        """The training path's tokenizer."""
        return ConversationTokenizer(self.tokenizer, template, self.image_tokens, self.llava.config.image_token_id)

    def save(self, folder: Path, template: Template, weights: dict[str, Tensor] | None = None) -> None:
        """Write what plain `from_pretrained` loads: safetensors, processor, chat template.

        `weights` are those of the model where it does not hold them itself (ZeRO-3 spreads them over ranks).
        """
        self.llava.save_pretrained(folder, state_dict=weights)
        vision = _vision_config(self.llava)
        kind = kind_of(vision)
        LlavaProcessor(
            image_processor=self.image_processor,
            tokenizer=self.tokenizer,
            patch_size=vision.patch_size,
            vision_feature_select_strategy=kind.strategy,
            # A class token, which the processor takes off again.
            num_additional_image_tokens=int(kind.class_token),
            image_token=IMAGE_TOKEN,
            chat_template=template.jinja(str(self.tokenizer.eos_token)),
        ).save_pretrained(folder)


def assemble(base: Path, projector: Projector, feature_layer: int, aspect: Aspect, seed: int) -> Assembled:
    """Connect the models of a BaseModels folder; the projector, and embeddings of new tokens, start from `seed`.

    Raises ModelError if tokenizer and language model do not fit, or vision tower, image processor and feature layer.
    """
    register()
    language = AutoModelForCausalLM.from_pretrained(base / "language", dtype=torch.float32)
    tokenizer = _tokenizer(base / "language")
    vision = AutoModel.from_pretrained(base / "vision", dtype=torch.float32)
    vision = tower_of(vision)
    kind, images = kind_of(vision.config), _image_processor(base / "vision", aspect)
    features = features_of(vision.config, transform_of(images, aspect).size)
    check_feature_layer(vision.config, feature_layer)
    embeddings = _embeddings(language)
    if len(tokenizer) > embeddings:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the language model {embeddings} embeddings:"
            " they are not of one model"
        )
    for part in (vision.config, language.config):
        part._name_or_path = ""  # where it lay is no part of a checkpoint: elsewhere it would be other bytes
    # Before new embeddings are drawn: every worker has to draw the same.
    torch.manual_seed(seed)
    image_id = _image_token(tokenizer, language)
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=image_id,
        projector_hidden_act=ACTIVATIONS[projector],
        vision_feature_select_strategy=kind.strategy,
        vision_feature_layer=feature_layer,
        image_seq_length=features,
        tie_word_embeddings=language.config.tie_word_embeddings,
    )
    llava = LlavaForConditionalGeneration(config)
    llava.model.vision_tower.load_state_dict(vision.state_dict())
    llava.model.language_model.load_state_dict(language.model.state_dict())
    llava.lm_head.load_state_dict(language.lm_head.state_dict())
    llava.tie_weights()
    _start_projector(llava.model.multi_modal_projector, projector)
    # Not the language model's own, which may sample (as Vicuna's and SmolLM2's do): a checkpoint answers alike twice.
    llava.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return Assembled(llava, tokenizer, images, aspect)


def conversations_of_base(
    base: Path, aspect: Aspect, template: Callable[[PreTrainedTokenizerFast], Template]
) -> ConversationTokenizer:
    """How a model that `assemble` makes of a BaseModels folder will tokenise, found without reading any weights."""
    tokenizer = _tokenizer(base / "language")
    _add_tokens(tokenizer)
    pixels = transform_of(_image_processor(base / "vision", aspect), aspect).size
    tokens = features_of(AutoConfig.from_pretrained(base / "vision"), pixels)
    image_id = int(str(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)))
    return ConversationTokenizer(tokenizer, template(tokenizer), tokens, image_id)


def load(folder: Path, *, weights: bool = True) -> Assembled:
    """A checkpoint that `Assembled.save` wrote. Raises ModelError if it is not a LLaVA folder.

    Without `weights` the model is a shape on device meta: enough for prompts and images, where another engine runs it.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json: it is not a model folder")
    register()
    config = AutoConfig.from_pretrained(folder)
    if config.model_type != "llava":
        raise ModelError(f"{folder} holds a {config.model_type} model, not a LLaVA one")
    if weights:
        try:
            llava = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"the weights of {folder} cannot be read ({error}); run again to rebuild them") from error
        except RuntimeError as error:
            told = " ".join(str(error).split())[:200]
            raise ModelError(
                f"{folder}: its weights do not fit its config.json ({told}): tower, projector and language model are "
                "not of one model; take a checkpoint as it was written"
            ) from error
    else:
        with torch.device("meta"):
            llava = LlavaForConditionalGeneration(config)
    tokenizer = _tokenizer(folder)
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    aspect: Aspect = "pad" if getattr(processor, "do_pad", False) else "square"
    return Assembled(llava, tokenizer, processor, aspect)


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ModelError(f"the tokenizer of {folder} has no tokenizer.json; convert it to a fast one first")
    return tokenizer


def _image_token(tokenizer: PreTrainedTokenizerFast, language: nn.Module) -> int:
    """The id of the image token, added to tokenizer and embeddings where it is new; a pad token likewise."""
    _add_tokens(tokenizer)
    if len(tokenizer) > _embeddings(language):
        language.resize_token_embeddings(len(tokenizer), mean_resizing=False)  # type: ignore[operator]
    return int(str(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)))


def _add_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    if tokenizer.pad_token_id is None:
        tokenizer.add_special_tokens({"pad_token": "<pad>"})


def _embeddings(language: nn.Module) -> int:
    return int(language.get_input_embeddings().num_embeddings)  # type: ignore[operator]


def _vision_config(llava: LlavaForConditionalGeneration) -> Any:
    """Of a type that depends on the tower: transformers types it as a dict, a config or None."""
    return llava.config.vision_config


def _start_projector(module: nn.Module, projector: Projector) -> None:
    """Start values as `nn.Linear` makes them (transformers' default of 0.02 starts features far too small); a linear
    projector is stored as the two-layer one it equals, its second layer the identity."""
    for layer in (module.linear_1, module.linear_2):
        layer.reset_parameters()  # type: ignore[union-attr, operator]
    if projector == "linear":
        nn.init.eye_(module.linear_2.weight)  # type: ignore[union-attr, arg-type]
        nn.init.zeros_(module.linear_2.bias)  # type: ignore[union-attr, arg-type]


def _image_processor(folder: Path, aspect: Aspect) -> Any:
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    if aspect == "square":
        return processor
    # A padded image is square: it is brought to the tower's size as a whole, nothing is cut off.
    side = transform_of(processor, "square").size
    return LlavaImageProcessorPil(
        do_pad=True, size={"shortest_edge": side}, crop_size={"height": side, "width": side},
        image_mean=processor.image_mean, image_std=processor.image_std, resample=processor.resample,
    )
