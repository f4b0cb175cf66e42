"""The micro language model's tokenizer: byte-level BPE, trained on the corpus, so that any text can be encoded."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from model.records import IMAGE_TOKEN

WORDS = r" ?\([A-E]\)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s"
"""What BPE may join: words with the space before them, and the label of a choice, which is then one token."""
SPECIALS = ("<pad>", "<s>", "<unk>", "</s>", IMAGE_TOKEN)


def train_tokenizer(corpus: Iterable[str], vocab: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE of at most `vocab` tokens. bos stands in front of every text, as LLaMA's tokenizers put it."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(corpus, trainer)
    backend.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", backend.token_to_id("<s>"))]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        additional_special_tokens=[IMAGE_TOKEN],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
