"""A micro CLIP, trained contrastively on scenes of the project's own world (Radford et al. 2021, section 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from configs.schema import MicroVision
from model.images import ImageTransform, transform_of
from tasks.base.history import History
from tasks.base.optimizer import MasterAdamW
from tasks.base.tokenizer import train_tokenizer
from tasks.world.captions import captions
from tasks.world.render import render
from tasks.world.scene import HELD_OUT, SHAPES, Scene, make_scene, seeded

COMPLETE_CAPTIONS = 2
"""A scene's first captions say everything; the others suit many scenes and would be wrong as negatives."""
SIBLINGS, TRIES = 4, 40
"""Scenes of one family stand together in a batch: colours and places alike, shapes not. Without such near misses a
batch is told apart by colour alone, and the tower stays blind to shape (figures in docs/experiments.md)."""
TEXT_TOKENS = 48
TEXT_VOCAB = 512


def micro_clip_config(config: MicroVision, tokenizer: PreTrainedTokenizerFast) -> CLIPConfig:
    """The shape of the model: one width for both towers."""
    tower = {
        "hidden_size": config.hidden,
        "intermediate_size": 4 * config.hidden,
        "num_attention_heads": config.heads,
        "projection_dim": config.projection,
    }
    return CLIPConfig(
        vision_config=tower
        | {"num_hidden_layers": config.layers, "image_size": config.image_size, "patch_size": config.patch_size},
        text_config=tower
        | {
            "num_hidden_layers": config.text_layers,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TEXT_TOKENS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        projection_dim=config.projection,
        logit_scale_init_value=math.log(10.0),
    )


def image_processor(config: MicroVision) -> CLIPImageProcessorPil:
    """CLIP's image processor at the tower's size."""
    side = {"height": config.image_size, "width": config.image_size}
    return CLIPImageProcessorPil(size={"shortest_edge": config.image_size}, crop_size=side)


def train_clip(folder: Path, config: MicroVision, seed: int, history: History) -> int:
    """Train the micro CLIP and save its vision half, with the image processor, as a Hugging Face folder.

    Returns the parameters of the vision half.
    """
    scenes = [scene for index in range(config.scenes // SIBLINGS) for scene in family(seed, index)]
    written = [captions(scene) for scene in scenes]
    tokenizer = train_tokenizer((text for five in written for text in five), TEXT_VOCAB)
    torch.manual_seed(seed)
    # Explicit attention: on CPU its backward over such short sequences is several times that of the fused kernel.
    model = CLIPModel._from_config(micro_clip_config(config, tokenizer), attn_implementation="eager")
    processor = image_processor(config)
    pixels, texts = _scenes(scenes, written, transform_of(processor, "square"), tokenizer)
    optimizer = MasterAdamW(model, config.lr, config.steps)
    model.train()
    for step, (images, ids) in enumerate(_batches(pixels, texts, config, seed, tokenizer.pad_token_id)):
        mask = (ids != tokenizer.pad_token_id).long()
        logits = model(pixel_values=images, input_ids=ids, attention_mask=mask).logits_per_image
        loss = contrastive_loss(logits.float())
        loss.backward()
        optimizer.step()
        history.add("vision", step + 1, config.steps, float(loss.detach()))
    model.float()
    model.vision_model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return int(model.vision_model.num_parameters())


def contrastive_loss(logits_per_image: Tensor) -> Tensor:
    """Symmetric cross-entropy over an [images, texts] matrix whose diagonal are the pairs."""
    target = torch.arange(len(logits_per_image))
    both = functional.cross_entropy(logits_per_image, target) + functional.cross_entropy(logits_per_image.T, target)
    return both / 2


def _scenes(
    scenes: Sequence[Scene], written: Sequence[Sequence[str]], transform: ImageTransform,
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[Tensor, list[list[list[int]]]]:
    """Pixels [scenes, 3, size, size] and each scene's captions as token ids."""
    pixels = torch.stack([transform.of(render(scene, transform.size)).to(torch.bfloat16) for scene in scenes])
    flat = tokenizer([text for five in written for text in five], add_special_tokens=False)["input_ids"]
    framed = [[tokenizer.bos_token_id, *ids[: TEXT_TOKENS - 2], tokenizer.eos_token_id] for ids in flat]
    return pixels, [framed[at : at + 5] for at in range(0, len(framed), 5)]


def _batches(
    pixels: Tensor, texts: list[list[list[int]]], config: MicroVision, seed: int, pad: int
) -> Iterator[tuple[Tensor, Tensor]]:
    rng = seeded("clip batches", seed)
    for _ in range(config.steps):
        families = rng.sample(range(len(texts) // SIBLINGS), config.batch // SIBLINGS)
        chosen = [family * SIBLINGS + at for family in families for at in range(SIBLINGS)]
        rows = [rng.choice(texts[at][:COMPLETE_CAPTIONS]) for at in chosen]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        yield pixels[chosen], ids


def family(seed: int, index: int) -> list[Scene]:
    """A scene and its siblings: the same but for the shapes, no two alike, no held-out pair.

    A scene that has fewer such siblings is joined by scenes of their own.
    """
    first = make_scene(seed, "pretraining", index, "training")
    rng = seeded("siblings", seed, index)
    members = [first]
    for _ in range(TRIES):
        things = tuple(replace(thing, shape=rng.choice(SHAPES)) for thing in first.things)
        pairs = {thing.pair for thing in things}
        distinct = len(pairs) == len(things) and all(pairs != member.pairs for member in members)
        if distinct and pairs.isdisjoint(HELD_OUT):
            members.append(replace(first, id=f"{first.id}-{len(members)}", things=things))
        if len(members) == SIBLINGS:
            return members
    strangers = range(len(members), SIBLINGS)
    return members + [make_scene(seed, f"pretraining-{at}", index, "training") for at in strangers]
