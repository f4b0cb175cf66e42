"""Conversations as token ids and labels, built together piece by piece.

Every image token of a human turn becomes as many image tokens as the vision tower yields features. Words of turns are
never read as special tokens, so that a user who writes `</s>` or `<image>` writes letters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from model.errors import ModelError
from model.records import IMAGE_TOKEN, Sample, Turn
from model.templates import AlteredWords, Piece, Template

IGNORE = -100
"""Label of a token that is not supervised."""


class Unusable(ValueError):
    """A sample that cannot be trained on; the message is its quarantine reason."""


@dataclass(frozen=True)
class Encoded:
    """A tokenised conversation. `labels[i]` is `ids[i]` where token i is supervised, else IGNORE."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    turns: int
    """Turns that were kept."""
    dropped_turns: int = 0


@dataclass
class ConversationTokenizer:
    """Tokenises conversations in one template for one model.

    `image_tokens` is the number of features of an image; `image_token_id` their id in the vocabulary.
    """

    tokenizer: PreTrainedTokenizerFast
    template: Template
    image_tokens: int
    image_token_id: int
    _literal: Tokenizer = field(init=False, repr=False)
    _anchor: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.tokenizer.eos_token, str):
            raise ModelError("the tokenizer has no eos token, so answers could not be ended; set one")
        # Tokenizer.encode_special_tokens is a switch on the object: a copy of its own for the words of turns.
        self._literal = Tokenizer.from_str(self.tokenizer.backend_tokenizer.to_str())
        self._literal.encode_special_tokens = True
        # SentencePiece types put a space in front of every text. Encoding behind a newline and cutting that off
        # again gives the ids as they are inside a text.
        dummy_prefix = len(self._literal.encode("a", add_special_tokens=False).ids) > 0 and (
            self._literal.decode(self._literal.encode("\n", add_special_tokens=False).ids[:1]).strip("\n") != ""
            or len(self._literal.encode("\n", add_special_tokens=False).ids) > 1
        )
        self._anchor = len(self._literal.encode("\n", add_special_tokens=False).ids) if dummy_prefix else 0
        self._markup = lru_cache(maxsize=256)(self._markup_uncached)

    def images_in(self, encoded: Encoded) -> int:
        """How many images what was kept of a sample shows: the first so many of those it has."""
        return encoded.ids.count(self.image_token_id) // self.image_tokens

    @property
    def eos(self) -> str:
        """The text of the eos token."""
        return str(self.tokenizer.eos_token)

    def encode(self, sample: Sample, max_length: int) -> Encoded:
        """Ids and labels of a sample, at most `max_length` tokens: what does not fit loses whole trailing rounds.

        Raises Unusable if not even the first round fits, if nothing is supervised, or if the supervised tokens of
        an answer do not decode to exactly its words and the end mark.
        """
        pieces = self._pieces(sample)
        opening, rounds = self._rounds(pieces)
        ids, labels = list(opening), [IGNORE] * len(opening)
        kept = 0
        for round_ids, round_labels in rounds:
            if len(ids) + len(round_ids) > max_length:
                break
            ids += round_ids
            labels += round_labels
            kept += 1
        if not kept:
            raise Unusable(f"first round longer than max_length {max_length}")
        self._check_round_trip(pieces[:kept], labels)
        dropped = len(sample.conversations) - 2 * kept
        return Encoded(tuple(ids), tuple(labels), turns=2 * kept, dropped_turns=dropped)

    def prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Ids of a conversation that ends with an open human turn, for the model to go on: a prefix of training ids."""
        first, *pieces = chain.from_iterable(self.template.rounds(turns, self.eos))
        ids = self._start() + self._first(first)
        for piece in pieces:
            ids += self._piece(piece)
        return ids

    def prompt_of(
        self, pieces: Sequence[Piece | None], letters: Callable[[str], list[int]], *, start: bool
    ) -> list[int]:
        """Ids of a prompt given piece by piece, the first of them markup; None stands for an image.

        `letters` encodes the words of people. `start`: the tokenizer writes what it puts in front of a text.
        """
        ids = self._start() if start else []
        for at, piece in enumerate(pieces):
            if piece is None:
                ids += [self.image_token_id] * self.image_tokens
            elif piece.words:
                ids += letters(piece.text)
            else:
                ids += self._first(piece) if at == 0 else self._markup(piece.text)
        return ids

    def literal_ids(self, text: str) -> list[int]:
        """Ids of letters: nothing in them is read as a special token."""
        return self._literal_ids(text)

    def answer(self, words: str) -> list[int]:
        """Ids of the words of an answer, or of its beginning, as they follow a prompt in training."""
        return self._literal_ids(self.template.before_words + words)

    def _start(self) -> list[int]:
        """What the tokenizer itself puts in front of a text (LLaMA's bos), nothing for others."""
        if self.template.writes_bos:
            return []
        with_special = self.tokenizer("a", add_special_tokens=True)["input_ids"]
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and with_special and with_special[0] == bos else []

    def _rounds(self, pieces: Sequence[Sequence[Piece]]) -> tuple[list[int], list[tuple[list[int], list[int]]]]:
        """Ids in front, then ids and labels of each round."""
        start = self._start() + self._first(pieces[0][0])
        rounds: list[tuple[list[int], list[int]]] = []
        for at, around in enumerate(pieces):
            ids: list[int] = []
            labels: list[int] = []
            for piece in around[1:] if at == 0 else around:
                piece_ids = self._piece(piece)
                ids += piece_ids
                labels += piece_ids if piece.supervised else [IGNORE] * len(piece_ids)
            rounds.append((ids, labels))
        return start, rounds

    def _first(self, piece: Piece) -> list[int]:
        """Ids of the piece that a conversation starts with, always markup: here SentencePiece types put their space."""
        return list(self.tokenizer.backend_tokenizer.encode(piece.text, add_special_tokens=False).ids)

    def _piece(self, piece: Piece) -> list[int]:
        if piece.words:
            return self._words(piece.text, image=not piece.supervised)
        return list(self._markup(piece.text))

    def _words(self, text: str, *, image: bool) -> list[int]:
        if not image or IMAGE_TOKEN not in text:
            return self._literal_ids(text)
        first, *others = text.split(IMAGE_TOKEN)
        ids = self._literal_ids(first)
        for words in others:
            ids += [self.image_token_id] * self.image_tokens + self._literal_ids(words)
        return ids

    def _literal_ids(self, text: str) -> list[int]:
        if not text:
            return []
        if not self._anchor:
            return list(self._literal.encode(text, add_special_tokens=False).ids)
        return list(self._literal.encode("\n" + text, add_special_tokens=False).ids[self._anchor :])

    def _markup_uncached(self, text: str) -> tuple[int, ...]:
        if not text:
            return ()
        backend = self.tokenizer.backend_tokenizer
        if not self._anchor:
            return tuple(backend.encode(text, add_special_tokens=False).ids)
        return tuple(backend.encode("\n" + text, add_special_tokens=False).ids[self._anchor :])

    def _pieces(self, sample: Sample) -> list[list[Piece]]:
        try:
            return self.template.rounds(sample.conversations, self.eos)
        except AlteredWords as error:
            raise Unusable(str(error)) from error

    def _check_round_trip(self, rounds: Sequence[Sequence[Piece]], labels: Sequence[int]) -> None:
        supervised = [label for label in labels if label != IGNORE]
        if not supervised:
            raise Unusable("nothing is supervised")
        expected = "".join(piece.text for around in rounds for piece in around if piece.supervised)
        decoded = self._literal.decode(supervised, skip_special_tokens=False)
        if decoded.removeprefix(" ") != expected.removeprefix(" "):
            raise Unusable("the supervised tokens do not decode to the answer and its end mark")
