"""From an answer's tokens to the words that can be shown already. Pure but for the tokenizer it is given."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class WordsOut:
    """The words of one answer as they come, equal in sum to the whole answer, stripped.

    What may be the beginning of a stop text, space that may be the answer's last, and letters of which not all bytes
    are there yet are held back.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer, self._stop = tokenizer, [text for text in stop if text]
        self._stream = DecodeStream(skip_special_tokens=True)
        self._held = ""
        self._begun = False
        self.stopped = False
        """A stop text was found; nothing more is shown."""

    def take(self, token: int) -> str:
        """What one more token lets be shown."""
        return self.show(self._stream.step(self._tokenizer, token) or "")

    def show(self, text: str) -> str:
        """What one more piece of text lets be shown."""
        if self.stopped:
            return ""
        held = self._held + text
        if not self._begun:
            held = held.lstrip()
        found = [at for stop in self._stop if (at := held.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return self._shown(held[: min(found)].rstrip())
        keep = max((_begins(held, stop) for stop in self._stop), default=0)
        shown = held[: len(held) - keep].rstrip()
        self._held = held[len(shown) :]
        return self._shown(shown)

    def rest(self) -> str:
        """What was held back, once the answer has ended."""
        held, self._held = self._held.rstrip(), ""
        return "" if self.stopped else self._shown(held)

    def _shown(self, text: str) -> str:
        self._begun = self._begun or bool(text)
        return text


def _begins(text: str, stop: str) -> int:
    """How many letters at the end of a text are the beginning of a stop text."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
