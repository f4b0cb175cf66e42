"""What an answer looks like on the wire: chat.completion, chat.completion.chunk and server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass

from pydantic import JsonValue

from tasks.serve.asked import Piece

DONE = b"data: [DONE]\n\n"
Tree = dict[str, JsonValue]


@dataclass(frozen=True)
class Reply:
    """One answer: its id, when it was begun, and the model as clients call it with its version."""

    name: str
    created: int
    model: str

    def whole(self, words: str, last: Piece) -> Tree:
        """The body of an answer that is not streamed."""
        message: Tree = {"role": "assistant", "content": words, "refusal": None}
        choice: Tree = {"index": 0, "message": message, "logprobs": None, "finish_reason": last.finish}
        return self._head("chat.completion") | {"choices": [choice], "usage": usage(last)}

    def first(self) -> bytes:
        """The chunk that says who speaks."""
        return self._chunk({"role": "assistant", "content": ""}, None)

    def chunk(self, piece: Piece) -> bytes:
        """A piece of the words."""
        return self._chunk({"content": piece.text}, None)

    def last(self, piece: Piece) -> bytes:
        """The chunk that says why it ended."""
        return self._chunk({}, piece.finish)

    def counted(self, last: Piece) -> bytes:
        """The chunk of the usage, for those who ask for it."""
        return event(self._head("chat.completion.chunk") | {"choices": [], "usage": usage(last)})

    def _chunk(self, delta: Tree, finish: str | None) -> bytes:
        choice: Tree = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event(self._head("chat.completion.chunk") | {"choices": [choice]})

    def _head(self, kind: str) -> Tree:
        return {
            "id": self.name, "object": kind, "created": self.created, "model": self.model,
            "system_fingerprint": self.model,
        }  # fmt: skip


def usage(last: Piece) -> Tree:
    """Tokens of prompt and answer."""
    return {
        "prompt_tokens": last.prompt_tokens, "completion_tokens": last.completion_tokens,
        "total_tokens": last.prompt_tokens + last.completion_tokens,
    }  # fmt: skip


def event(tree: object) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
