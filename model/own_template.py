"""The chat template that came with a language model, as pieces: where its turns' words stand, and what is supervised.

The template is rendered once for each number of turns with marks in place of the words; where the marks come out, the
words go, and its generation spans say what is supervised. So ids and labels are built piece by piece as with the tables
of `model.templates`, and a user's words are never read as markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from model.errors import ModelError
from model.records import Turn
from model.templates import AlteredWords, Piece, Template, template_named

OWN = "own"
"""What experiments call the base model's own template."""
ROLES = {"human": "user", "gpt": "assistant"}
MARK = re.compile("\ue000(\\d+)\ue001")
SPAN = re.compile(r"\{%-?\s*generation\s*-?%\}")


def template_for(name: str, tokenizer: PreTrainedTokenizerFast) -> Template:
    """The template of a name: a table, or the tokenizer's own. Raises ModelError where it cannot be trained with."""
    if name != OWN:
        return template_named(name)
    source = tokenizer.chat_template
    if not isinstance(source, str):
        raise ModelError("train.template is 'own', but the base model's tokenizer has no chat template; name another")
    tokens = {key: str(value) for key, value in tokenizer.special_tokens_map.items()}
    return OwnTemplate(source, tokens)


@dataclass(frozen=True)
class _Part:
    """A run of the rendered shape: literal text, or the words of a turn."""

    text: str = ""
    turn: int | None = None
    supervised: bool = False


@dataclass(frozen=True)
class OwnTemplate:
    """A Jinja chat template with generation spans; a `Template`. `tokens` are its variables (bos_token, ...).

    Raises ModelError if it has no generation spans, does not show the words of every turn once and in order, or asks
    for an answer with other text than it is trained on.
    """

    source: str
    tokens: Mapping[str, str]
    name: str = OWN
    writes_bos = True
    _shape: Callable[[int], list[_Part]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not SPAN.search(self.source):
            raise ModelError(
                "the base model's chat template has no {% generation %} spans, so its answers cannot be told from its "
                "questions: put a template with them into the tokenizer's folder, or name another by train.template"
            )
        object.__setattr__(self, "_shape", lru_cache(maxsize=64)(self._shape_uncached))
        asked, answered = self._shape(1), self._shape(2)
        answer = next(at for at, part in enumerate(answered) if part.supervised)
        if _text(asked) != _text(answered[:answer]):
            raise ModelError(
                "the base model's chat template asks for an answer with other text than stands before one; "
                "name another by train.template"
            )

    @property
    def before_words(self) -> str:
        """See `Template`."""
        parts = self._shape(2)
        at = next(at for at, part in enumerate(parts) if part.turn == 1)
        return "".join(part.text for part in parts[:at] if part.supervised)

    def end_mark(self, eos: str) -> str:
        """See `Template`."""
        parts = self._shape(2)
        at = next(at for at, part in enumerate(parts) if part.turn == 1)
        return "".join(part.text for part in parts[at:] if part.supervised)

    def jinja(self, eos: str) -> str:
        """The template as it came."""
        return self.source

    def rounds(self, turns: Sequence[Turn], eos: str) -> list[list[Piece]]:
        """See `Template`. Raises AlteredWords if the template changes the words of a turn (trims them, say)."""
        rounds: list[list[Piece]] = [[]]
        glue = ""
        for part in self._shape(len(turns)):
            if part.turn is None:
                # A space in front of words is one piece with them, as it merges with the first.
                kept = part.text.rstrip(" ")
                glue = part.text[len(kept) :]
                if kept or not rounds[0]:
                    rounds[-1].append(Piece(kept, supervised=part.supervised))
                continue
            if part.turn % 2 == 0 and part.turn:
                rounds.append([])
            rounds[-1].append(Piece(glue + turns[part.turn].text, supervised=part.supervised, words=True))
            glue = ""
        if glue:
            rounds[-1].append(Piece(glue))
        said = [(ROLES[turn.role], turn.text) for turn in turns]
        if "".join(piece.text for around in rounds for piece in around) != self._render(said)[0]:
            raise AlteredWords("the chat template alters the words of a turn")
        return rounds

    def _render(self, said: Sequence[tuple[str, str]]) -> tuple[str, list[tuple[int, int]]]:
        """The text of a conversation, and its generation spans."""
        tokens: dict[str, Any] = dict(self.tokens)
        rendered: Any = render_jinja_template(
            [[{"role": role, "content": words} for role, words in said]], chat_template=self.source,
            return_assistant_tokens_mask=True, add_generation_prompt=said[-1][0] == "user", **tokens,
        )
        texts, spans = rendered
        return str(texts[0]), [(int(start), int(end)) for start, end in spans[0]]

    def _shape_uncached(self, turns: int) -> list[_Part]:
        roles = [("user", "assistant")[at % 2] for at in range(turns)]
        text, spans = self._render([(role, f"\ue000{at}\ue001") for at, role in enumerate(roles)])
        marks = list(MARK.finditer(text))
        if [int(mark[1]) for mark in marks] != list(range(turns)):
            raise ModelError("the base model's chat template does not show every turn once, in order; name another")
        inside = [any(start <= at < end for start, end in spans) for at in range(len(text))]
        wrong = [mark for mark in marks if inside[mark.start()] != bool(int(mark[1]) % 2)]
        if wrong:
            raise ModelError("the generation spans of the base model's chat template are not its answers; name another")
        return list(_parts(text, marks, inside))


def _parts(text: str, marks: Sequence[re.Match[str]], inside: Sequence[bool]) -> Iterator[_Part]:
    """Literals, cut where supervision changes, and words."""
    places = {mark.start(): mark for mark in marks}
    at = 0
    while at < len(text):
        if mark := places.get(at):
            yield _Part(turn=int(mark[1]), supervised=inside[at])
            at = mark.end()
            continue
        end = at + 1
        while end < len(text) and end not in places and inside[end] == inside[at]:
            end += 1
        yield _Part(text=text[at:end], supervised=inside[at])
        at = end


def _text(parts: Sequence[_Part]) -> str:
    return "".join(part.text if part.turn is None else f"\ue000{part.turn}\ue001" for part in parts)
