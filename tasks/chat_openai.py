"""The client of an OpenAI-compatible chat endpoint: bounded retries, several requests at once, plain errors.

One event loop in a thread of its own carries all requests over kept connections, so the client works from any thread,
one that runs a loop of its own included. What a retry can cure (429, 5xx, timeouts, dropped connections, unreadable
bodies) is retried with jittered exponential back-off, or as long as Retry-After says; what it cannot cure is refused
at once.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, JsonValue, ValidationError

from configs.schema import OpenAIEndpoint
from tasks.chat_errors import LONGEST_ORDERED_PAUSE, EndpointDown, Retry, say, verdict_on
from tasks.chat_records import Failure, Message, Reply, Usage
from tasks.errors import EndpointError, EndpointRejected

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
TRIES_AT_START = 4
"""An endpoint that has never answered gets this many tries (about four seconds), not `max_retries`."""
FAILURES_IN_A_ROW = 8
"""Beyond so many failed requests without an answer between them, the endpoint is taken to be gone."""
IMAGE_TOKENS = 2500
"""What an image may be counted as, before the endpoint says what it was."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Result = TypeVar("Result")


class _Said(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    message: _Said
    finish_reason: str | None = None


class _Tokens(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Tokens | None = None


class OpenAIClient:
    """A `ChatClient` on an OpenAI-compatible endpoint. Safe to use from several threads."""

    costly = True

    def __init__(
        self,
        endpoint: OpenAIEndpoint,
        api_key: str | None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.endpoint = endpoint
        self.model = endpoint.model
        self.usage = Usage()
        self._key = api_key
        self._sleep = sleep
        self._jitter = random.SystemRandom()
        self._reached = False
        self._length_name = "max_tokens"
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: openai.AsyncOpenAI | None = None

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """Endpoint, model and sampling parameters. The endpoint too: two servers may give one name to two models."""
        return {
            "kind": "openai",
            "base_url": self.endpoint.base_url.rstrip("/"),
            "model": self.model,
            "temperature": self.endpoint.temperature,
            "max_tokens": self.endpoint.max_tokens,
        }

    @property
    def patience(self) -> float:
        """Every try may use up its timeout, and every pause may be an ordered one."""
        tries = max(self.endpoint.max_retries + 1, TRIES_AT_START)
        return tries * self.endpoint.timeout_seconds + (tries - 1) * LONGEST_ORDERED_PAUSE

    def price(self, reply: Reply) -> float:
        """Tokens times the prices of the experiment, in USD."""
        return self._price(reply.input_tokens, reply.output_tokens)

    def highest_price(self, messages: Sequence[Message]) -> float:
        """A token per three bytes, IMAGE_TOKENS an image, and max_tokens of answer: more than real ones come to."""
        words = sum(len(message.content.encode()) for message in messages) // 3
        shown = IMAGE_TOKENS * sum(message.image is not None for message in messages)
        return self._price(words + shown, self.endpoint.max_tokens)

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        rates = self.endpoint
        return (input_tokens * rates.usd_per_million_input + output_tokens * rates.usd_per_million_output) / 1e6

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once, with retries. Raises EndpointRejected or EndpointError."""
        return self._submit(self._answer(messages)).result()

    def answer_all(self, requests: Iterable[Sequence[Message]]) -> Iterator[tuple[int, Reply | Failure]]:
        """Keep `concurrency` requests under way; yield outcomes as they arrive.

        Raises EndpointRejected or EndpointError once what was under way has been yielded.
        """
        source = enumerate(requests)
        flight = _Flight()
        try:
            while True:
                while flight.fatal is None and len(flight.waiting) < self.endpoint.concurrency:
                    if (following := next(source, None)) is None:
                        break
                    flight.waiting[self._submit(self._answer(following[1]))] = following[0]
                if not flight.waiting:
                    break
                yield from flight.land()
        finally:
            for future in flight.waiting:
                future.cancel()
        if flight.fatal is not None:
            raise flight.fatal

    def close(self) -> None:
        """Close the connections and end the thread."""
        with self._lock:
            loop, client, self._loop, self._client = self._loop, self._client, None, None
        if loop is None or client is None:
            return
        asyncio.run_coroutine_threadsafe(_shut(client), loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)

    # ------------------------------------------------------------------ one request

    async def _answer(self, messages: Sequence[Message]) -> Reply:
        tried = 0
        while True:
            verdict = await self._try(messages)
            if isinstance(verdict, Reply):
                return verdict
            tried += 1
            last = TRIES_AT_START if verdict.down and not self._reached else self.endpoint.max_retries + 1
            if tried >= last:
                raise self._given_up(verdict, tried)
            await self._sleep(self._pause(verdict, tried))

    async def _try(self, messages: Sequence[Message]) -> Reply | Retry:
        """One try. Raises what no retry cures."""
        try:
            body = await self._send(messages)
        except openai.BadRequestError as error:
            # Newer OpenAI models refuse `max_tokens` and want the same number under another name.
            if self._length_name == "max_tokens" and "max_completion_tokens" in str(error):
                self._length_name = "max_completion_tokens"
                return await self._try(messages)
            return verdict_on(error, self.endpoint, self._key)
        except openai.APIError as error:
            return verdict_on(error, self.endpoint, self._key)
        self._reached = True
        reply = _read(body, messages)
        if isinstance(reply, Reply):
            with self._lock:
                self.usage += Usage(1, reply.input_tokens, reply.output_tokens, self.price(reply))
        return reply

    async def _send(self, messages: Sequence[Message]) -> str:
        assert self._client is not None
        raw = await self._client.chat.completions.with_raw_response.create(
            model=self.model,
            messages=[message.json() for message in messages],  # type: ignore[misc]
            temperature=self.endpoint.temperature,
            extra_body={self._length_name: self.endpoint.max_tokens},
        )
        return str(raw.text)

    def _pause(self, verdict: Retry, tried: int) -> float:
        if verdict.after is not None:
            return verdict.after + self._jitter.uniform(0.0, 0.1)
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1)) * self._jitter.uniform(0.75, 1.25))

    def _given_up(self, verdict: Retry, tried: int) -> EndpointError:
        url = self.endpoint.base_url
        if verdict.down and not self._reached:
            return EndpointDown(f"nothing answers at {url}; start the endpoint there, or correct base_url")
        return EndpointError(f"{url} did not answer in {tried} tries: {verdict.reason}")

    # ------------------------------------------------------------------ the loop in its thread

    def _submit(self, work: Coroutine[Any, Any, Result]) -> Future[Result]:
        return asyncio.run_coroutine_threadsafe(work, self._running_loop())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._client = self._connect()
                threading.Thread(target=_carry, args=(self._loop,), name="chat", daemon=True).start()
            return self._loop

    def _connect(self) -> openai.AsyncOpenAI:
        # A proxy of the environment is for the outside; an endpoint on this machine is reached directly.
        outside = urlsplit(self.endpoint.base_url).hostname not in LOOPBACK
        return openai.AsyncOpenAI(
            base_url=self.endpoint.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=self.endpoint.timeout_seconds,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=outside, base_url=self.endpoint.base_url, timeout=self.endpoint.timeout_seconds
            ),
        )


async def _shut(client: openai.AsyncOpenAI) -> None:
    """Cancel what is still under way and close the connections."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await client.close()


def _carry(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, then close it."""
    try:
        loop.run_forever()
    finally:
        loop.close()


def _read(body: str, messages: Sequence[Message]) -> Reply | Retry:
    """The reply in a response body. A server that names no usage is counted at four bytes a token."""
    try:
        completion = _Completion.model_validate(json.loads(body))
        choice = completion.choices[0]
    except (json.JSONDecodeError, ValidationError, IndexError):
        return Retry(f"its answer is not a chat completion: {say(body)}")
    text = choice.message.content or ""
    tokens = completion.usage or _Tokens(
        prompt_tokens=sum(len(message.content.encode()) for message in messages) // 4,
        completion_tokens=len(text.encode()) // 4,
    )
    return Reply(text, tokens.prompt_tokens, tokens.completion_tokens, choice.finish_reason or "stop")


@dataclass
class _Flight:
    """Requests under way, and what their outcomes say about the endpoint."""

    waiting: dict[Future[Reply], int] = field(default_factory=dict)
    fatal: EndpointError | None = None
    failed_in_a_row: int = 0

    def land(self) -> Iterator[tuple[int, Reply | Failure]]:
        """Wait for at least one outcome and yield all that are there, in the order of the requests."""
        done, _ = wait(self.waiting, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=self.waiting.__getitem__):
            position = self.waiting.pop(future)
            try:
                outcome: Reply | Failure = future.result()
                self.failed_in_a_row = 0
            except (EndpointRejected, EndpointDown) as error:
                self.fatal = self.fatal or error
                outcome = Failure(str(error))
            except EndpointError as error:
                outcome = Failure(str(error))
                self._count(error)
            yield position, outcome

    def _count(self, error: EndpointError) -> None:
        self.failed_in_a_row += 1
        if self.failed_in_a_row >= FAILURES_IN_A_ROW and self.fatal is None:
            self.fatal = EndpointError(
                f"{self.failed_in_a_row} requests in a row failed ({error}); what was answered is kept: see to the "
                "endpoint and run again"
            )
