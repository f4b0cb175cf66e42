"""A tiny CLIP and a tiny Llama as ordinary Hugging Face folders, and tokenizers of both families, built in moments."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

SPECIALS = ["<pad>", "<s>", "<unk>", "</s>"]
CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: What colour is the object in the top left? ASSISTANT: The ball "
    "is red.",
    "USER: Which shape is left of the cube? ASSISTANT: The answer is A. It shows a small green ball and a blue cube.",
]
IMAGE_SIZE, PATCH = 32, 8
IMAGE_TOKENS = (IMAGE_SIZE // PATCH) ** 2


def byte_level_tokenizer(vocab: int = 400) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's and LLaMA-3's are. It knows no image token yet."""
    return _wrapped(Tokenizer.from_str(_byte_level(vocab)))


def sentencepiece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE with a space in front of every text and bytes for what it does not know, as LLaMA-2's is."""
    return _wrapped(Tokenizer.from_str(_sentencepiece()))


def save_tiny_base(folder: Path, *, seed: int = 0, vocab: int = 400) -> Path:
    """vision/ and language/ with random weights of a fixed seed; the language model has grouped-query attention."""
    tokenizer = byte_level_tokenizer(vocab)
    torch.manual_seed(seed)
    CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, image_size=IMAGE_SIZE,
            patch_size=PATCH,
        )
    ).save_pretrained(folder / "vision")
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    CLIPImageProcessorPil(size={"shortest_edge": IMAGE_SIZE}, crop_size=side).save_pretrained(folder / "vision")
    LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=len(tokenizer), max_position_embeddings=1024, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        )
    ).save_pretrained(folder / "language")
    tokenizer.save_pretrained(folder / "language")
    return folder


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
