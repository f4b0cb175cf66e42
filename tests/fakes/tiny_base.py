"""A tiny CLIP and a tiny Llama as ordinary Hugging Face folders, and tokenizers of both families, built in moments."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionConfig,
    Dinov2Config,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

SPECIALS = ["<pad>", "<s>", "<unk>", "</s>"]
CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: What colour is the object in the top left? ASSISTANT: The ball "
    "is red.",
    "USER: Which shape is left of the cube? ASSISTANT: The answer is A. It shows a small green ball and a blue cube.",
]
IMAGE_SIZE, PATCH = 32, 8
IMAGE_TOKENS = (IMAGE_SIZE // PATCH) ** 2
Language = Literal["llama", "mistral", "qwen2", "qwen3"]
Vision = Literal["clip", "siglip", "dinov2"]


def byte_level_tokenizer(vocab: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's and LLaMA-3's are. It knows no image token yet."""
    return _wrapped(Tokenizer.from_str(_byte_level(vocab)))


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE with a space in front of every text and bytes for what it does not know, as LLaMA-2's is."""
    return _wrapped(Tokenizer.from_str(_sentencepiece()))


def save_tiny_base(
    folder: Path, *, seed: int = 0, vocab: int = 400, language: Language = "llama", vision: Vision = "clip"
) -> Path:
    """vision/ and language/ with random weights of a fixed seed; the language model has grouped-query attention."""
    torch.manual_seed(seed)
    _save_vision(folder / "vision", vision)
    tokenizer = byte_level_tokenizer(vocab)
    config = AutoConfig.for_model(
        language, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, vocab_size=len(tokenizer), max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    return folder


def _save_vision(folder: Path, kind: Vision) -> None:
    """A tower and its processor, as the real ones of the kind come: DINOv2's resizes to more than it keeps."""
    sizes: dict[str, Any] = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
        "patch_size": PATCH,
    }
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    if kind == "clip":
        AutoModel.from_config(CLIPVisionConfig(**sizes, image_size=IMAGE_SIZE)).save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=side).save_pretrained(folder)
    elif kind == "siglip":
        AutoModel.from_config(SiglipVisionConfig(**sizes, image_size=IMAGE_SIZE)).save_pretrained(folder)
        SiglipImageProcessorPil(size=side).save_pretrained(folder)
    else:
        # Its position embeddings are for larger images and are interpolated, as those of the real one are.
        AutoModel.from_config(Dinov2Config(**sizes, image_size=IMAGE_SIZE + 2 * PATCH)).save_pretrained(folder)
        BitImageProcessorPil(size={"shortest_edge": IMAGE_SIZE + 5}, crop_size=side).save_pretrained(folder)


def _wrapped(raw: Tokenizer) -> PreTrainedTokenizerFast:
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", raw.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )


@cache
def _byte_level(vocab: int) -> str:
    raw = Tokenizer(models.BPE())
    words = Regex(r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s")
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=SPECIALS, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(CORPUS, trainer)
    return str(raw.to_str())


@cache
def _sentencepiece() -> str:
    space = "\u2581"
    raw = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    raw.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    octets = [f"<0x{octet:02X}>" for octet in range(256)]
    # Words are split while merges are learnt only: LLaMA's does not split either.
    raw.pre_tokenizer = pre_tokenizers.Metaspace(space, prepend_scheme="first", split=True)
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=[*SPECIALS, *octets], show_progress=False)
    raw.train_from_iterator(CORPUS, trainer)
    raw.pre_tokenizer = pre_tokenizers.Metaspace(space, prepend_scheme="first", split=False)
    return _octets_ordinary(raw)


def _octets_ordinary(raw: Tokenizer) -> str:
    """The same with the byte tokens in the vocabulary alone, not among those that are looked for in the text."""
    import json

    told = json.loads(raw.to_str())
    told["added_tokens"] = [token for token in told["added_tokens"] if token["content"] in SPECIALS]
    return json.dumps(told)
