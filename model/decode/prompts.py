"""From a question to ids and from ids back to words: by a template of training, or by a checkpoint's chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from transformers import GenerationConfig

from model.build import Assembled
from model.errors import ModelError
from model.own_template import template_for
from model.records import IMAGE_TOKEN, Turn

TAIL = 16
"""Tokens in which an end mark of several tokens is looked for."""


class Prompts(Protocol):
    """How one checkpoint is talked to."""

    def ids(self, text: str, begun: str) -> list[int]:
        """A human turn, with the image token in front where it has an image, and the beginning of the answer."""

    def answer(self, words: str) -> list[int]:
        """An answer's words as they follow a prompt, without end mark."""

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the last of an answer's tokens ends it."""

    def words(self, tokens: Sequence[int]) -> str:
        """The words of an answer, without end mark."""

    @property
    def stop(self) -> list[str]:
        """Texts that end an answer where no single token does, for an engine that watches for them itself."""


class ByTemplate:
    """As in training, id for id."""

    def __init__(self, assembled: Assembled, template: str) -> None:
        self._template = template_for(template, assembled.tokenizer)
        self._conversations = assembled.conversations(self._template)
        self._tokenizer = assembled.tokenizer
        self._end = self._template.end_mark(self._conversations.eos)
        self._stop: list[int] = list(self._tokenizer(self._end, add_special_tokens=False)["input_ids"])
        self._eos = self._tokenizer.eos_token_id

    def ids(self, text: str, begun: str) -> list[int]:
        """See `Prompts`."""
        return self._conversations.prompt([Turn(role="human", text=text)]) + (self.answer(begun) if begun else [])

    def answer(self, words: str) -> list[int]:
        """See `Prompts`."""
        return self._conversations.answer(words)

    def ended(self, tokens: Sequence[int]) -> bool:
        """See `Prompts`. An end mark of several tokens (v0) can only be watched for in the text."""
        if tokens[-1] == self._eos or [tokens[-1]] == self._stop:
            return True
        return len(self._stop) > 1 and self._end in self._text(tokens[-TAIL:])

    @property
    def stop(self) -> list[str]:
        """See `Prompts`."""
        return [self._end] if len(self._stop) > 1 else []

    def words(self, tokens: Sequence[int]) -> str:
        """See `Prompts`."""
        text = self._text(tokens)
        cut = text.split(self._end, 1)[0] if len(self._stop) > 1 else text.removesuffix(self._end)
        return cut.removeprefix(self._template.before_words)

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))


class ByChatTemplate:
    """As the checkpoint itself says, for one that was trained elsewhere."""

    def __init__(self, assembled: Assembled, folder: Path) -> None:
        self._tokenizer = assembled.tokenizer
        self._image = IMAGE_TOKEN * assembled.image_tokens
        self._template = chat_template_of(folder)
        if str(self._tokenizer.convert_ids_to_tokens(assembled.llava.config.image_token_id)) != IMAGE_TOKEN:
            raise ModelError(f"the image token of {folder} is not {IMAGE_TOKEN}")
        told: GenerationConfig = assembled.llava.generation_config
        named = told.eos_token_id if told.eos_token_id is not None else self._tokenizer.eos_token_id
        self._ends = set(named) if isinstance(named, list) else {named}

    def ids(self, text: str, begun: str) -> list[int]:
        """See `Prompts`."""
        words = text
        while words.startswith(f"{IMAGE_TOKEN}\n"):
            words = words.removeprefix(f"{IMAGE_TOKEN}\n")
        shown = (len(text) - len(words)) // len(f"{IMAGE_TOKEN}\n")
        content = [{"type": "image"}] * shown + [{"type": "text", "text": words}]
        messages: Any = [{"role": "user", "content": content}]  # transformers types content as words alone
        rendered = self._tokenizer.apply_chat_template(
            messages, chat_template=self._template, add_generation_prompt=True, tokenize=False
        )
        told = str(rendered).replace(IMAGE_TOKEN, self._image, max(1, shown))
        if begun:
            told += begun if told[-1:].isspace() else f" {begun}"
        # Where the template writes the mark of the beginning itself, the tokenizer is not to do so again.
        marked = told.startswith(str(self._tokenizer.bos_token or "\0"))
        return list(self._tokenizer(told, add_special_tokens=not marked)["input_ids"])

    def answer(self, words: str) -> list[int]:
        """See `Prompts`. Answers begin with a space, as they do behind the colon of LLaVA's templates."""
        return list(self._tokenizer(f" {words}", add_special_tokens=False)["input_ids"])

    def ended(self, tokens: Sequence[int]) -> bool:
        """See `Prompts`."""
        return tokens[-1] in self._ends

    @property
    def stop(self) -> list[str]:
        """See `Prompts`."""
        return []

    def words(self, tokens: Sequence[int]) -> str:
        """See `Prompts`."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def prompts_of(assembled: Assembled, folder: Path, template: str | None) -> Prompts:
    """By the template that is named, or by the checkpoint's own. Raises ModelError if there is neither."""
    return ByTemplate(assembled, template) if template else ByChatTemplate(assembled, folder)


def chat_template_of(folder: Path) -> str:
    """The chat template of a checkpoint, where its processor or its tokenizer keeps it. Raises ModelError if none."""
    from transformers import AutoProcessor

    found = getattr(AutoProcessor.from_pretrained(folder), "chat_template", None)
    if not isinstance(found, str):
        raise ModelError(f"{folder} has no chat template; name the template that it was trained with")
    return found
