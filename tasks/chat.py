"""One client for teacher and judge: any OpenAI-compatible endpoint, or the scripted ones of the embedded world.

`make_client` is the only place where the kind of endpoint matters. Both kinds receive the same messages and answer in
the same text formats, so prompts, parsers, rejection and scoring are one code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from pydantic import JsonValue

from configs.schema import Endpoint, ScriptedEndpoint
from tasks.chat_records import ChatClient, ChatRole, Failure, ImageFile, Message, Reply, Usage
from tasks.code import code_digest
from tasks.errors import ConfigError

__all__ = [
    "ChatClient", "ChatRole", "Failure", "ImageFile", "Message", "Reply", "Role", "ScriptedClient", "Usage",
    "answer_all", "make_client",
]

Role = Literal["teacher", "judge", "model"]
SCRIPTED_CODE = ("tasks/scripted", "tasks/world")


def make_client(endpoint: Endpoint, api_key: str | None, role: Role) -> ChatClient:
    """The client of an endpoint. `api_key` is the value of the variable that `endpoint.api_key_env` names.

    Nothing is sent yet. The `openai` package is imported here, not with this module: it takes a second.
    """
    if isinstance(endpoint, ScriptedEndpoint):
        if role == "model":
            raise ConfigError("there is no scripted model to evaluate; name an endpoint of kind openai")
        from tasks.scripted.judge import answer as judge
        from tasks.scripted.teacher import answer as teacher

        return ScriptedClient(role, teacher if role == "teacher" else judge)
    from tasks.chat_openai import OpenAIClient

    return OpenAIClient(endpoint, api_key)


def answer_all(client: ChatClient, requests: Sequence[Sequence[Message]]) -> list[Reply | Failure]:
    """Ask all at the client's concurrency and return the outcomes in the order of the requests.

    Raises EndpointError when the endpoint as a whole cannot be used. Nothing is kept: see `tasks.ledger` for that.
    """
    outcomes = dict(client.answer_all(requests))
    return [outcomes[position] for position in range(len(requests))]


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

    def answer_all(self, requests: Iterable[Sequence[Message]]) -> Iterator[tuple[int, Reply | Failure]]:
        """Answer one after the other."""
        for position, messages in enumerate(requests):
            yield position, self.complete(messages)

    def price(self, reply: Reply) -> float:
        """Rules cost nothing."""
        return 0.0

    def highest_price(self, messages: Sequence[Message]) -> float:
        """Rules cost nothing."""
        return 0.0

    def close(self) -> None:
        """There is nothing to let go of."""
