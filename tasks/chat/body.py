"""Reading the body of a chat completion: the text, why it ended, and token figures that can be believed.

An answer was paid for whatever its figures say, so wrong figures never cost it: what is missing, is no whole number,
or cannot be (below zero, or more than texts of that size can come to) is replaced by a cautious estimate, and the
reply says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import BaseModel, JsonValue, ValidationError

from tasks.chat.errors import Retry, say
from tasks.chat.records import Message, Reply

BYTES_A_TOKEN = 2
"""Fewer than texts have on average in any language that models are trained on: an estimate errs upwards."""
IMAGE_TOKENS = 2500
"""What an image may be counted as, before the endpoint says what it was."""
TOKENS_A_MESSAGE = 16
"""Marks that a chat template puts around a message."""
SERVED = 255
"""Characters of an endpoint's own name that are kept."""
HIDDEN_TOKENS = 8192
"""What an endpoint may add to the messages, unseen: a system prompt of its own."""


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: JsonValue = None
    model: JsonValue = None
    system_fingerprint: JsonValue = None

    @property
    def served(self) -> str:
        """Model and fingerprint, as far as they are told."""
        told = [_writable(part) for part in (self.model, self.system_fingerprint) if isinstance(part, str) and part]
        return " ".join(told)[:SERVED]


def read_reply(body: str, messages: Sequence[Message], max_tokens: int) -> Reply | Retry:
    """The reply in a response body, or why there is none."""
    try:
        completion = _Completion.model_validate(json.loads(body))
        choice = completion.choices[0]
    except (json.JSONDecodeError, RecursionError, ValidationError, IndexError):
        return Retry(f"its answer is not a chat completion: {say(body)}")
    text = _writable(choice.message.content or "")
    usage = completion.usage if isinstance(completion.usage, dict) else {}
    sent = input_tokens(messages)
    read = _believed(usage.get("prompt_tokens"), 2 * sent + HIDDEN_TOKENS)
    wrote = _believed(usage.get("completion_tokens"), 2 * max_tokens + len(text.encode()))
    return Reply(
        text,
        sent if read is None else read,
        tokens_of(text) if wrote is None else wrote,
        choice.finish_reason or "stop",
        estimated=read is None or wrote is None,
        served=completion.served,
    )


def input_tokens(messages: Sequence[Message]) -> int:
    """How many tokens messages come to, by a cautious estimate."""
    shown = IMAGE_TOKENS * sum(message.image is not None for message in messages)
    return shown + sum(tokens_of(message.content) + TOKENS_A_MESSAGE for message in messages)


def tokens_of(text: str) -> int:
    """How many tokens a text comes to, by a cautious estimate."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_A_TOKEN)


def _writable(text: str) -> str:
    """The text with marks in the place of what no database takes: halves of surrogate pairs, and the null character."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")


def _believed(figure: JsonValue, most: int) -> int | None:
    """The figure, or None where it cannot be right."""
    if isinstance(figure, bool) or not isinstance(figure, int) or not 0 <= figure <= most:
        return None
    return figure
