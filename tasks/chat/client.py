"""One client for teacher and judge: any OpenAI-compatible endpoint, or the scripted ones of the embedded world.

`make_client` is the only place where the kind of endpoint matters. Both kinds receive the same messages and answer in
the same text formats, so prompts, parsers, rejection and scoring are one code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Literal

from pydantic import JsonValue

from configs.schema import Endpoint, ScriptedEndpoint
from tasks.chat.records import ChatClient, ChatRole, Failure, ImageFile, Message, Reply, Usage, Window
from tasks.code import code_digest
from tasks.errors import ConfigError

__all__ = [
    "ChatClient", "ChatRole", "Failure", "ImageFile", "InTurn", "Message", "Reply", "Role", "ScriptedClient", "Usage",
    "Window", "answer_all", "answers", "make_client",
]

Role = Literal["teacher", "judge", "llm", "model"]
"""What an endpoint is asked for; `llm` is the text-only LLM of an ensemble, and of a bench's references; `model` is
one that is evaluated."""
SCRIPTED_CODE = ("tasks/scripted", "tasks/world")
FREE_AT_ONCE = 500
WAIT_SECONDS = 60.0


def make_client(endpoint: Endpoint, api_key: str | None, role: Role) -> ChatClient:
    """The client of an endpoint. `api_key` is the value of the variable that `endpoint.api_key_env` names.

    Nothing is sent yet. The `openai` package is imported here, not with this module: it takes a second.
    """
    if isinstance(endpoint, ScriptedEndpoint):
        if role == "model":
            raise ConfigError("there is no scripted model to evaluate; name an endpoint of kind openai")
        from tasks.scripted.judge import answer as judge
        from tasks.scripted.solver import answer as solver
        from tasks.scripted.teacher import answer as teacher

        return ScriptedClient(role, {"teacher": teacher, "judge": judge, "llm": solver}[role])
    from tasks.chat.openai import OpenAIClient

    return OpenAIClient(endpoint, api_key)


def answers(client: ChatClient, requests: Iterable[Sequence[Message]]) -> Iterator[tuple[int, Reply | Failure]]:
    """Ask all, as many at once as the client has room for; yields (position, outcome) in the order of arrival.

    `requests` is drawn from only as places become free. Raises as `Window.land` does. Nothing is kept: see
    `tasks.ledger` for that.
    """
    source = enumerate(requests)
    under_way, drawn_out = 0, False
    with client.window() as window:
        while True:
            drawn = list(islice(source, window.free)) if not drawn_out else []
            drawn_out = drawn_out or (not drawn and window.free > 0)
            window.send(drawn)
            under_way += len(drawn)
            if drawn_out and not under_way:
                return
            landed = window.land(hungry=not drawn_out, seconds=WAIT_SECONDS)
            under_way -= len(landed)
            yield from landed


def answer_all(client: ChatClient, requests: Sequence[Sequence[Message]]) -> list[Reply | Failure]:
    """As `answers`, with the outcomes in the order of the requests."""
    outcomes = dict(answers(client, requests))
    return [outcomes[position] for position in range(len(requests))]


class InTurn:
    """A `Window` on what answers at once: up to `room` requests are answered one after the other when landed."""

    def __init__(self, answer: Callable[[Sequence[Message]], Reply | Failure], room: int) -> None:
        self._answer, self._room = answer, room
        self._waiting: list[tuple[int, Sequence[Message]]] = []

    @property
    def free(self) -> int:
        """See `Window`."""
        return self._room - len(self._waiting)

    def send(self, requests: Sequence[tuple[int, Sequence[Message]]]) -> None:
        """See `Window`."""
        self._waiting += requests

    def land(self, hungry: bool, seconds: float) -> list[tuple[int, Reply | Failure]]:
        """See `Window`. Never waits."""
        waiting, self._waiting = self._waiting, []
        return [(place, self._answer(messages)) for place, messages in waiting]


class ScriptedClient:
    """Answers by rules from the prompt alone: free, immediate, the same prompt always gets the same reply."""

    costly = False
    patience = 60.0

    def __init__(self, role: Role, answer: Callable[[Sequence[Message]], str]) -> None:
        self.model = f"scripted-{role}"
        self.usage = Usage()
        self._answer = answer

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The rules are the model, so their source is part of what shapes an answer."""
        return {"kind": "scripted", "model": self.model, "code": code_digest(SCRIPTED_CODE)}

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Answer once. Tokens are counted as words, which is what comes nearest without a tokenizer."""
        text = self._answer(messages)
        reply = Reply(text, sum(len(message.content.split()) for message in messages), len(text.split()))
        self.usage += Usage(1, reply.input_tokens, reply.output_tokens)
        return reply

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Many at a time: they are written down together."""
        yield InTurn(self.complete, FREE_AT_ONCE)

    def price(self, reply: Reply) -> float:
        """Rules cost nothing."""
        return 0.0

    def highest_price(self, messages: Sequence[Message]) -> float:
        """Rules cost nothing."""
        return 0.0

    def close(self) -> None:
        """There is nothing to let go of."""
