"""From a request to a conversation an engine takes: roles in order, counts within limits, images decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from configs.serve import Limits
from model.sampling import Sampling
from tasks.serve.asked import Asked, Picture, Role, Said
from tasks.serve.failures import bad
from tasks.serve.pictures import is_data, read_data, read_image
from tasks.serve.remote import Fetcher
from tasks.serve.request import ChatRequest, ImagePart, Spoken, TextPart

DEFAULT_TEMPERATURE = 0.0
"""Greedy unless asked otherwise: the same question, the same answer."""
SEEDS = 1 << 63


@dataclass(frozen=True)
class Reader:
    """Reads conversations. `threads` is where images are decoded."""

    limits: Limits
    fetcher: Fetcher
    threads: Executor

    async def read(self, request: ChatRequest) -> Asked:
        """The conversation of a request. Raises Refusal."""
        check(request, self.limits)
        said: list[Said] = []
        for at, message in enumerate(request.messages):
            pictures = [await self._picture(url, where) for where, url in image_urls(message, at)]
            said.append(Said(role_of(message), words_of(message), tuple(pictures)))
        return Asked(tuple(said), tokens_of(request, self.limits), sampling_of(request), request.stops)

    async def _picture(self, url: str, where: str) -> Picture:
        loop = asyncio.get_running_loop()
        if is_data(url):
            return await loop.run_in_executor(self.threads, read_data, url, self.limits, where)
        octets, kind = await self.fetcher.fetch(url, where)
        return await loop.run_in_executor(self.threads, read_image, octets, kind, self.limits, where)


def check(request: ChatRequest, limits: Limits) -> None:
    """Counts and the order of the roles. Raises Refusal."""
    if len(request.messages) > limits.messages:
        raise bad("too_many_messages", f"at most {limits.messages} messages are allowed", "messages")
    shown = sum(1 for at, message in enumerate(request.messages) for _ in image_urls(message, at))
    if shown > limits.images:
        raise bad("too_many_images", f"{shown} images were sent, {limits.images} are allowed", "messages")
    letters = sum(len(words_of(message)) for message in request.messages)
    if letters > limits.text_chars:
        raise bad("text_too_long", f"{letters:,} letters were sent, {limits.text_chars:,} are allowed", "messages")
    if not _ordered(request):
        raise bad(
            "invalid_conversation", "after a system message, user and assistant take turns, and the user is last",
            "messages",
        )
    wrong = [where for at, one in enumerate(request.messages) if one.role != "user" for where, _ in image_urls(one, at)]
    if wrong:
        raise bad("invalid_conversation", "only a user shows images", wrong[0])


def tokens_of(request: ChatRequest, limits: Limits) -> int:
    """Longest answer. Raises Refusal for one beyond the limit."""
    tokens = request.tokens
    if tokens is None:
        return min(limits.default_tokens, limits.answer_tokens)
    if tokens > limits.answer_tokens:
        raise bad("max_tokens_too_large", f"at most {limits.answer_tokens} tokens can be asked for", "max_tokens")
    return tokens


def sampling_of(request: ChatRequest) -> Sampling:
    """How tokens are drawn. Without a seed the draws are a function of the prompt alone."""
    temperature = DEFAULT_TEMPERATURE if request.temperature is None else request.temperature
    return Sampling(temperature, 1.0 if request.top_p is None else request.top_p, (request.seed or 0) % SEEDS)


def image_urls(message: Spoken, at: int) -> Iterator[tuple[str, str]]:
    """(field, URL) of every image of a message."""
    if not isinstance(message.content, str):
        for number, part in enumerate(message.content):
            if isinstance(part, ImagePart):
                yield f"messages.{at}.content.{number}.image_url", part.image_url.url


def words_of(message: Spoken) -> str:
    """The words of a message: its parts, a line each."""
    if isinstance(message.content, str):
        return message.content
    return "\n".join(part.text for part in message.content if isinstance(part, TextPart))


def role_of(message: Spoken) -> Role:
    """OpenAI's newer name for the system is developer."""
    return "system" if message.role == "developer" else message.role


def _ordered(request: ChatRequest) -> bool:
    roles = [role_of(message) for message in request.messages]
    while roles and roles[0] == "system":
        roles.pop(0)
    return len(roles) % 2 == 1 and all(role == ("user", "assistant")[at % 2] for at, role in enumerate(roles))
