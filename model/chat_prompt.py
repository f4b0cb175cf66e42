"""A conversation of any length, with any number of images, as token ids: by the checkpoint's own chat template.

The template is rendered with marks in place of words, so that nothing a person says is ever parsed: words are encoded
as letters, markup as markup. A person who writes `</s>` or `<image>` writes letters; one who writes a role marker that
is plain text ("ASSISTANT:") gets the same letters in other tokens than the template's, so that no turn can be forged.
For a checkpoint of ours the ids are those of training (tests/unit/model/test_chat_prompt.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

from model.build import Assembled
from model.decode.prompts import chat_template_of
from model.errors import ModelError
from model.own_template import SPAN
from model.records import IMAGE_TOKEN
from model.templates import Piece, Table

MARK = re.compile("\ue000(\\d+)\ue001")
Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One message: its words, and how many images it shows in front of them."""

    role: Role
    words: str
    images: int = 0


class ChatPrompt:
    """Prompts of one checkpoint. Raises ModelError if it has no chat template, or another image token."""

    def __init__(self, assembled: Assembled, folder: Path) -> None:
        self._source = chat_template_of(folder)
        tokenizer = assembled.tokenizer
        if str(tokenizer.convert_ids_to_tokens(assembled.llava.config.image_token_id)) != IMAGE_TOKEN:
            raise ModelError(f"the image token of {folder} is not {IMAGE_TOKEN}")
        named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        self._tokens: dict[str, Any] = dict(named)
        self._bos = named.get("bos_token", "")
        self._conversations = assembled.conversations(Table("chat"))
        self._literal = self._conversations.literal_ids
        self._shape = lru_cache(maxsize=64)(self._rendered)
        self._special = sorted(
            {str(token) for token in tokenizer.get_added_vocab()} | set(tokenizer.all_special_tokens), key=len,
            reverse=True,
        )
        self._system = self._shows_system()
        self._markers = self._plain_markers()

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Ids of a conversation that ends with a user's turn, for the model to go on.

        Where the template has no place for a system message, its words stand in front of the first user's. Raises
        ModelError if the template refuses the order of the roles.
        """
        told = list(messages) if self._system else _folded(messages)
        pieces = list(self._pieces(told))
        start = not (self._bos and pieces and pieces[0] is not None and pieces[0].text.startswith(self._bos))
        return self._conversations.prompt_of(pieces, self._guarded, start=start)

    def end_mark(self) -> str | None:
        """What the template writes behind an answer where that is no special token: it is watched for in the text."""
        if not SPAN.search(self._source):
            return None
        said = [{"role": role, "content": [{"type": "text", "text": role}]} for role in ("user", "assistant")]
        rendered: Any = render_jinja_template(
            [said], chat_template=self._source, return_assistant_tokens_mask=True, **self._tokens
        )
        (text,), ((_, (_, end)),) = rendered[0], [(0, spans[-1]) for spans in rendered[1]]
        mark = str(text)[str(text).rindex("assistant", 0, end) + len("assistant") : end]
        return None if not mark.strip() or any(token in mark for token in self._special) else mark

    def _pieces(self, messages: Sequence[Message]) -> Iterator[Piece | None]:
        """The conversation piece by piece; None stands for an image."""
        text = self._shape(tuple((message.role, message.images) for message in messages))
        glue, at, after_image = "", 0, False
        shown = iter(re.finditer(f"{MARK.pattern}|{re.escape(IMAGE_TOKEN)}", text))
        first = True
        for found in shown:
            between = text[at : found.start()]
            # Space in front of words is one piece with them, as it merges with the first; so is all behind an image.
            kept = "" if after_image and not between.strip() else between.rstrip(" ")
            if kept or first:
                yield Piece(kept)
            first, glue = False, between[len(kept) :]
            after_image = found[1] is None
            if after_image:
                if glue:
                    yield Piece(glue, words=True)
                yield None
            else:
                yield Piece(glue + messages[int(found[1])].words, words=True)
            at = found.end()
        if rest := text[at:]:
            yield Piece(rest)

    def _rendered(self, shape: Sequence[tuple[Role, int]]) -> str:
        """The text of a conversation with marks in place of words. Raises ModelError if the template refuses it."""
        said: list[Any] = [
            {
                "role": role,
                "content": [*[{"type": "image"}] * images, {"type": "text", "text": f"\ue000{number}\ue001"}],
            }
            for number, (role, images) in enumerate(shape)
        ]
        try:
            rendered: Any = render_jinja_template(
                [said], chat_template=self._source, add_generation_prompt=shape[-1][0] == "user", **self._tokens
            )
        except TemplateError as error:
            raise ModelError(f"the chat template refuses this conversation: {error}") from error
        text = str(rendered[0][0])
        if [int(mark[1]) for mark in MARK.finditer(text)] != list(range(len(shape))):
            raise ModelError("the chat template does not show every message once, in order")
        if text.count(IMAGE_TOKEN) != sum(images for _, images in shape):
            raise ModelError("the chat template does not show every image once")
        return text

    def _shows_system(self) -> bool:
        try:
            self._shape((("system", 0), ("user", 0)))
        except ModelError:
            return False
        return True

    def _plain_markers(self) -> list[str]:
        """Role markers of the template that are plain text: the lines of what it writes between words.

        A line by itself, as a marker stands behind an end mark or the words of the system too. Those without a letter
        are left to people, who write headings with them.
        """
        text = self._shape((("user", 0), ("assistant", 0), ("user", 0)))
        cut = "|".join([MARK.pattern.replace("(", "(?:"), *map(re.escape, self._special)])
        found = {line.strip() for part in re.split(cut, text) for line in part.splitlines()}
        return sorted({one for one in found if len(one) > 1 and re.search("[^\\W\\d]", one)}, key=len, reverse=True)

    def _guarded(self, words: str) -> list[int]:
        """The letters of a person's words. Where they hold a role marker, it is encoded in two parts."""
        for marker in self._markers:
            if marker in words:
                before, after = words.split(marker, 1)
                head, tail = self._broken(marker)
                return [*self._guarded(before), *self._literal(head), *self._guarded_rest(tail, after)]
        return self._literal(words)

    def _guarded_rest(self, tail: str, after: str) -> list[int]:
        return [*self._literal(tail), *self._guarded(after)]

    def _broken(self, marker: str) -> tuple[str, str]:
        """Two parts of a marker whose ids are not those of the whole. Where letters are tokens there are none such, and
        a space between the parts is the least that tells them from the marker."""
        whole = {tuple(self._literal(marker)), tuple(self._literal(" " + marker))}
        for at in range(1, len(marker)):
            parts = (*self._literal(marker[:at]), *self._literal(marker[at:]))
            if parts not in whole:
                return marker[:at], marker[at:]
        return marker[:1], f" {marker[1:]}"


def _folded(messages: Sequence[Message]) -> list[Message]:
    """System messages' words in front of the first user's."""
    system = [message.words for message in messages if message.role == "system" and message.words]
    rest = [message for message in messages if message.role != "system"]
    if not system or not rest:
        return rest
    first = rest[0]
    return [Message(first.role, "\n\n".join([*system, first.words]), first.images), *rest[1:]]
