"""Prompt templates: how a conversation becomes text, which of it is supervised, and the same as a Jinja chat template.

A template is a table of literal strings around the words of the turns. `pieces` yields them in order, marked as
supervised or not; nothing ever searches a rendered text for role markers, which is how labels get lost elsewhere
(LLaVA issues 661, 1166, 1706). Each piece is tokenised by itself. Boundaries stand where byte-level and SentencePiece
tokenisers break anyway (a space belongs to the word after it), so that plain `transformers`, which tokenises the
whole rendered text, sees the same ids; tests/unit/model/test_tokenize.py holds that.

Sources: LLaVA's conversation.py for the wording of v0, v1, llama_2, mpt and plain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Template:
    """The literal strings around the turns.

    `end` is the mark after an answer; it is supervised, as stopping must be learnt. None: the tokenizer's eos token.
    """

    name: str
    opening: str = ""
    before_user: str = ""
    after_user: str = ""
    before_words: str = ""
    """Directly in front of the words of every turn (a space): one piece with them, as it merges with the first word;
    before an answer it is supervised with it."""
    end: str | None = None
    after_answer: str = ""
    drop_user_words: bool = False
    """Only the image of a human turn is kept (plain)."""

    def end_mark(self, eos: str) -> str:
        """What ends an answer."""
        return eos if self.end is None else self.end

    def pieces(self, turns: Sequence[Turn], eos: str) -> Iterator[Piece]:
        """The conversation piece by piece. A trailing human turn is left open for the model to answer."""
        if self.opening:
            yield Piece(self.opening)
        for turn in turns:
            if turn.role == "human":
                yield Piece(self.before_user)
                yield Piece(self._user_words(turn.text), words=True)
                yield Piece(self.after_user)
            else:
                yield Piece(self.before_words + turn.text, supervised=True, words=True)
                yield Piece(self.end_mark(eos), supervised=True)
                yield Piece(self.after_answer)

    def _user_words(self, text: str) -> str:
        if self.drop_user_words:
            return "<image>" if "<image>" in text else ""
        return self.before_words + text

    def jinja(self, eos: str) -> str:
        """The template as a chat template of `transformers`, with generation spans.

        Content may be a string or the list form ({"type": "image"} and {"type": "text"}), the image first.
        """
        user = _quote(self.before_user + self.before_words) + " + words + " + _quote(self.after_user)
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


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        # The image, then the caption and a newline: stage align.
        Template("plain", end="\n", drop_user_words=True),
        Template(
            "v0",
            opening=CURIOUS.format(who="human"),
            before_user="\n### Human:",
            after_user="\n### Assistant:",
            before_words=" ",
            end="\n###",
        ),
        Template(
            "v1",
            opening=CURIOUS.format(who="user"),
            before_user=" USER:",
            after_user=" ASSISTANT:",
            before_words=" ",
        ),
        # v1 without its system sentence, for models too small to carry it.
        Template("bare", before_user="USER:", after_user=" ASSISTANT:", before_words=" "),
        Template(
            "chatml",
            before_user="<|im_start|>user\n",
            after_user="<|im_end|>\n<|im_start|>assistant\n",
            end="<|im_end|>",
            after_answer="\n",
        ),
    )
}


def template_named(name: str) -> Template:
    """The template of a name. Raises ModelError naming those there are."""
    try:
        return TEMPLATES[name]
    except KeyError:
        raise ModelError(f"no template {name!r}; there are: {', '.join(TEMPLATES)}") from None
