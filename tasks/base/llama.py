"""A micro Llama, trained on the project's own corpus of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from configs.schema import MicroLanguage
from model.packed import PACKED_ATTENTION, Row, collate, packed_attention
from model.records import IMAGE_TOKEN, Sample
from model.templates import template_named
from model.tokenize import IGNORE, ConversationTokenizer, Encoded
from tasks.base.corpus import Lesson
from tasks.base.history import History
from tasks.base.optimizer import MasterAdamW
from tasks.base.tokenizer import train_tokenizer
from tasks.world.scene import seeded

TEMPLATE = "bare"


@dataclass(frozen=True)
class Language:
    """The corpus, tokenised."""

    tokenizer: PreTrainedTokenizerFast
    encoded: list[Encoded]


def read_corpus(config: MicroLanguage, corpus: Sequence[Sample], drills: Sequence[Lesson]) -> Language:
    """Train the tokenizer on the corpus and tokenise it."""
    template = template_named(TEMPLATE)
    texts = (piece.text for sample in corpus for piece in template.pieces(sample.conversations, ""))
    tokenizer = train_tokenizer(texts, config.vocab)
    image_id = int(str(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)))
    conversations = ConversationTokenizer(tokenizer, template, 1, image_id)
    encoded = [conversations.encode(sample, config.max_position) for sample in corpus]
    return Language(tokenizer, encoded + [encode_lesson(tokenizer, lesson) for lesson in drills])


def encode_lesson(tokenizer: PreTrainedTokenizerFast, lesson: Lesson) -> Encoded:
    """Ids and labels of a lesson, piece by piece."""
    ids, labels = [int(tokenizer.bos_token_id or 0)], [IGNORE]
    for (_, supervised), piece in zip(
        lesson, tokenizer([text for text, _ in lesson], add_special_tokens=False)["input_ids"], strict=True
    ):
        ids += piece
        labels += piece if supervised else [IGNORE] * len(piece)
    return Encoded(tuple(ids), tuple(labels), turns=0)


def micro_llama_config(config: MicroLanguage, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The shape of the model; embeddings are tied, as in the small Llamas."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.hidden,
        intermediate_size=config.intermediate,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.max_position,
        rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
        tie_word_embeddings=True,
        initializer_range=config.initializer_range,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def train_llama(folder: Path, config: MicroLanguage, language: Language, seed: int, history: History) -> int:
    """Train the micro Llama on its corpus and save it, with its tokenizer, as a Hugging Face folder.

    Returns its parameters.
    """
    torch.manual_seed(seed)
    ALL_ATTENTION_FUNCTIONS.register(PACKED_ATTENTION, packed_attention)
    model = LlamaForCausalLM(micro_llama_config(config, language.tokenizer))
    model.config._attn_implementation = PACKED_ATTENTION
    start_by_matching(model)
    optimizer = MasterAdamW(model, config.lr, config.steps)
    model.train()
    for step, row in enumerate(_rows(config, language, seed)):
        loss = next_token_loss(model, row)
        loss.backward()
        optimizer.step()
        history.add("language", step + 1, config.steps, float(loss.detach()))
    model.float()
    model.config._attn_implementation = "sdpa"
    model.save_pretrained(folder)
    language.tokenizer.save_pretrained(folder)
    return int(model.num_parameters())


def start_by_matching(model: LlamaForCausalLM) -> None:
    """Start queries and keys of all layers but the first as the same orthogonal map, so that like attends to like.

    A model of this size otherwise spends most of its short training finding that out: looking a thing up in the
    context came within 250 steps instead of not at all (mimetic initialisation, Trockman and Kolter 2023,
    arXiv 2305.09828; figures in docs/experiments.md).
    """
    with torch.no_grad():
        for layer in model.model.layers[1:]:
            torch.nn.init.orthogonal_(layer.self_attn.q_proj.weight)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


def next_token_loss(model: LlamaForCausalLM, row: Row) -> Tensor:
    """Mean cross-entropy over a row's supervised tokens."""
    hidden = model.model(
        input_ids=row.input_ids, position_ids=row.position_ids, use_cache=False, segments=row.segments
    ).last_hidden_state[0]
    logits = model.lm_head(hidden.index_select(0, row.predict)).float()
    return functional.cross_entropy(logits, row.targets)


def _rows(config: MicroLanguage, language: Language, seed: int) -> Iterator[Row]:
    """One packed row a step: documents in a seeded order until the row is full."""
    dummy = torch.zeros(3, 1, 1)
    pad = int(language.tokenizer.pad_token_id or 0)
    order: list[int] = []
    for step in range(config.steps):
        if len(order) < 4 * config.batch_tokens // 100:
            order += seeded("language order", seed, step).sample(range(len(language.encoded)), len(language.encoded))
        lengths = [len(language.encoded[at].ids) for at in order[: config.batch_tokens // 20]]
        row = pack_first(lengths, config.batch_tokens)
        chosen = [language.encoded[order[at]] for at in row]
        order = order[len(row) :]
        yield collate(chosen, [], dummy, pad)


def pack_first(lengths: Sequence[int], budget: int) -> list[int]:
    """Leading positions whose lengths fit the budget."""
    chosen, left = [], budget
    for at, length in enumerate(lengths):
        if length > left:
            break
        chosen.append(at)
        left -= length
    return chosen or [0]
