"""Prompt templates: how a conversation becomes text, which of it is supervised, and the same as a Jinja chat template.

A template is a table of literal strings around the words of the turns. `rounds` gives them in order, marked as
supervised or not; nothing ever searches a rendered text for role markers, which is how labels get lost elsewhere
(LLaVA issues 661, 1166, 1706). Each piece is tokenised by itself. Boundaries stand where byte-level and SentencePiece
tokenisers break anyway (a space belongs to the word after it), so that plain `transformers`, which tokenises the
whole rendered text, sees the same ids; tests/unit/model/test_tokenize.py holds that.

Sources: LLaVA's conversation.py for the wording of v0, v1, llama_2, mpt and plain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from model.errors import ModelError
from model.records import Turn

CURIOUS = (
    "A chat between a curious {who} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {who}'s questions."
)


@dataclass(frozen=True)
class Piece:
    """A run of text. `words` marks the words of a turn: they are never read as special tokens."""

    text: str
    supervised: bool = False
    words: bool = False


class AlteredWords(ValueError):
    """A template that changes the words of a turn: what was said could not be told from what is trained on."""


class Template(Protocol):
    """How a conversation becomes text. `Table` is one written down here, `model.own_template.OwnTemplate` a model's."""

    @property
    def name(self) -> str:
        """What experiments call it."""

    @property
    def before_words(self) -> str:
        """What stands directly in front of the words of an answer, supervised with them."""

    @property
    def writes_bos(self) -> bool:
        """It writes the start token itself, where there is one; the tokenizer must not do so again."""

    def end_mark(self, eos: str) -> str:
        """What ends an answer."""

    def rounds(self, turns: Sequence[Turn], eos: str) -> list[list[Piece]]:
        """The conversation piece by piece, a list a round (a human turn and its answer); the opening is in the first.

        The first piece is markup. A trailing human turn is left open for the model to answer.
        """

    def jinja(self, eos: str) -> str:
        """The template as a chat template of `transformers`, with generation spans."""


@dataclass(frozen=True)
class Table:
    """The literal strings around the turns; a `Template`.

    `end` is the mark after an answer; it is supervised, as stopping must be learnt. None: the tokenizer's eos token.
    """

    name: str
    opening: str = ""
    opening_asks: bool = False
    """The opening stands directly before the words of the first human turn, in place of `before_user` (llama_2)."""
    before_user: str = ""
    after_user: str = ""
    before_words: str = ""
    """Directly in front of the words of every turn (a space): one piece with them, as it merges with the first word;
    before an answer it is supervised with it."""
    end: str | None = None
    after_answer: str = ""
    drop_user_words: bool = False
    """Only the image of a human turn is kept (plain)."""
    writes_bos = False

    def end_mark(self, eos: str) -> str:
        """What ends an answer."""
        return eos if self.end is None else self.end

    def rounds(self, turns: Sequence[Turn], eos: str) -> list[list[Piece]]:
        """See `Template`."""
        return [list(self._round(turns[at : at + 2], at == 0, eos)) for at in range(0, len(turns), 2)]

    def pieces(self, turns: Sequence[Turn], eos: str) -> Iterator[Piece]:
        """All rounds, one behind the other."""
        yield from chain.from_iterable(self.rounds(turns, eos))

    def _round(self, turns: Sequence[Turn], first: bool, eos: str) -> Iterator[Piece]:
        if first and self.opening:
            yield Piece(self.opening)
        for turn in turns:
            if turn.role == "human":
                asks = first and self.opening_asks
                if not asks:
                    yield Piece(self.before_user)
                yield Piece(self._user_words(turn.text, asks), words=True)
                yield Piece(self.after_user)
            else:
                yield Piece(self.before_words + turn.text, supervised=True, words=True)
                yield Piece(self.end_mark(eos), supervised=True)
                yield Piece(self.after_answer)

    def _user_words(self, text: str, asks: bool) -> str:
        if self.drop_user_words:
            return "<image>" * text.count("<image>")
        return text if asks else self.before_words + text

    def jinja(self, eos: str) -> str:
        """The template as a chat template of `transformers`, with generation spans.

        Content may be a string or the list form ({"type": "image"} and {"type": "text"}), the image first.
        """
        before = _quote(self.before_user + self.before_words)
        if self.opening_asks:
            before = f"('' if loop.first else {before})"
        user = before + " + words + " + _quote(self.after_user)
        answer = _quote(self.before_words) + " + words + " + _quote(self.end_mark(eos))
        return (
            (f"{{{{ {_quote(self.opening)} }}}}" if self.opening else "")
            + "{%- for message in messages -%}"
            "{%- if message['content'] is string -%}{%- set words = message['content'] -%}"
            "{%- else -%}"
            "{%- set ns = namespace(words='') -%}"
            "{%- for part in message['content'] -%}"
            "{%- if part['type'] == 'image' -%}{%- set ns.words = ns.words + '<image>\\n' -%}"
            "{%- elif part['type'] == 'text' -%}{%- set ns.words = ns.words + part['text'] -%}{%- endif -%}"
            "{%- endfor -%}"
            "{%- set words = ns.words -%}"
            "{%- endif -%}"
            "{%- if message['role'] == 'user' -%}"
            f"{{{{ {user} }}}}"
            "{%- elif message['role'] == 'assistant' -%}"
            f"{{% generation %}}{{{{ {answer} }}}}{{% endgeneration %}}"
            + (f"{{{{ {_quote(self.after_answer)} }}}}" if self.after_answer else "")
            + "{%- endif -%}{%- endfor -%}"
        )


def _quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


TEMPLATES: dict[str, Table] = {
    template.name: template
    for template in (
        # The image, then the caption and a newline: stage align.
        Table("plain", end="\n", drop_user_words=True),
        Table(
            "v0",
            opening=CURIOUS.format(who="human"),
            before_user="\n### Human:",
            after_user="\n### Assistant:",
            before_words=" ",
            end="\n###",
        ),
        Table(
            "v1",
            opening=CURIOUS.format(who="user"),
            before_user=" USER:",
            after_user=" ASSISTANT:",
            before_words=" ",
        ),
        # v1 without its system sentence, for models too small to carry it.
        Table("bare", before_user="USER:", after_user=" ASSISTANT:", before_words=" "),
        Table(
            "chatml",
            before_user="<|im_start|>user\n",
            after_user="<|im_end|>\n<|im_start|>assistant\n",
            end="<|im_end|>",
            after_answer="\n",
        ),
        Table(
            "mpt",
            opening="<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. "
            "The assistant gives helpful and honest answers.<|im_end|>",
            before_user="<|im_start|>user\n",
            after_user="<|im_end|><|im_start|>assistant\n",
            end="<|im_end|>",
        ),
        Table(
            "llama_2",
            opening="[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the "
            "visual content that the user provides, and assist the user with a variety of tasks using natural "
            "language.\n<</SYS>>\n\n",
            opening_asks=True,
            before_user="<s>[INST]",
            after_user=" [/INST]",
            before_words=" ",
            end=" </s>",
        ),
    )
}


def template_named(name: str) -> Table:
    """The template of a name. Raises ModelError naming those there are."""
    try:
        return TEMPLATES[name]
    except KeyError:
        raise ModelError(f"no template {name!r}; there are: {', '.join(TEMPLATES)}") from None
