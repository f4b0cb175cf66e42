"""The client of an OpenAI-compatible chat endpoint: bounded retries, several requests at once, plain errors.

One event loop in a thread of its own carries all requests over kept connections, so the client works from any thread,
one that runs a loop of its own included. What a retry can cure (429, 5xx, timeouts, dropped connections, unreadable
bodies) is retried with jittered exponential back-off, or as long as Retry-After says; what it cannot cure is refused
at once.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import openai
from pydantic import JsonValue

from configs.schema import OpenAIEndpoint
from tasks.chat.body import input_tokens, read_reply
from tasks.chat.errors import LONGEST_ORDERED_PAUSE, EndpointDown, Retry, too_late, verdict_on
from tasks.chat.flight import Flight
from tasks.chat.quota import MINUTE
from tasks.chat.records import Message, Reply, Usage, Window
from tasks.chat.traffic import Traffic
from tasks.errors import EndpointError

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 20.0
TRIES_AT_START = 4
"""An endpoint that has never answered gets this many tries (about four seconds), not `max_retries`."""
LOOPBACK = ("127.0.0.1", "localhost", "::1")

Result = TypeVar("Result")


class OpenAIClient:
    """A `ChatClient` on an OpenAI-compatible endpoint. Safe to use from several threads."""

    costly = True

    def __init__(
        self,
        endpoint: OpenAIEndpoint,
        api_key: str | None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self.model = endpoint.model
        self.usage = Usage()
        self._key = api_key
        self._sleep = sleep
        self._traffic = Traffic(endpoint, clock, sleep)
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
        """Every try may use up its timeout and wait a minute for its quota, and every pause may be an ordered one."""
        tries = max(self.endpoint.max_retries + 1, TRIES_AT_START)
        quota = MINUTE if self._traffic.quota.limited else 0.0
        return tries * (self.endpoint.timeout_seconds + quota) + (tries - 1) * LONGEST_ORDERED_PAUSE

    def price(self, reply: Reply) -> float:
        """Tokens times the prices of the experiment, in USD."""
        return self._price(reply.input_tokens, reply.output_tokens)

    def highest_price(self, messages: Sequence[Message]) -> float:
        """A cautious estimate of the messages, and max_tokens of answer: more than real texts come to."""
        return self._price(input_tokens(messages), self.endpoint.max_tokens)

    def _price(self, input_tokens: int, output_tokens: int) -> float:
        rates = self.endpoint
        return (input_tokens * rates.usd_per_million_input + output_tokens * rates.usd_per_million_output) / 1e6

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Ask once, with retries. Raises EndpointRejected or EndpointError."""
        return self._submit(self._answer(messages)).result()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Up to `concurrency` requests on the wire, fewer where the endpoint takes no more, and a few that wait."""
        self._traffic.circuit.begin_again()
        flight = Flight(self._running_loop(), self._traffic, self._answer, self.endpoint.base_url)
        try:
            yield flight
        finally:
            flight.cancel()

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
        tokens = input_tokens(messages) + self.endpoint.max_tokens
        tried = 0
        while True:
            verdict = await self._try(messages, tokens)
            if isinstance(verdict, Reply):
                return verdict
            tried += 1
            last = TRIES_AT_START if verdict.down and not self._reached else self.endpoint.max_retries + 1
            if tried >= last:
                raise self._given_up(verdict, tried)
            await self._sleep(self._pause(verdict, tried))

    async def _try(self, messages: Sequence[Message], tokens: int) -> Reply | Retry:
        """One try, when it may be made. Raises what no retry cures."""
        sent = await self._traffic.enter(tokens)
        outcome: Reply | Retry | None = None
        try:
            outcome = await self._outcome(messages)
        finally:
            self._traffic.leave(sent, tokens, outcome)
        if isinstance(outcome, Reply):
            with self._lock:
                self.usage += Usage(1, outcome.input_tokens, outcome.output_tokens, self.price(outcome))
        return outcome

    async def _outcome(self, messages: Sequence[Message]) -> Reply | Retry:
        try:
            async with asyncio.timeout(self.endpoint.timeout_seconds):
                body = await self._send(messages)
        except openai.BadRequestError as error:
            # Newer OpenAI models refuse `max_tokens` and want the same number under another name.
            if self._length_name == "max_tokens" and "max_completion_tokens" in str(error):
                self._length_name = "max_completion_tokens"
                return await self._outcome(messages)
            return verdict_on(error, self.endpoint, self._key)
        except openai.APIError as error:
            return verdict_on(error, self.endpoint, self._key)
        except TimeoutError:
            return too_late(self.endpoint)
        self._reached = True
        return read_reply(body, messages, self.endpoint.max_tokens)

    async def _send(self, messages: Sequence[Message]) -> str:
        """The body of the answer.

        By the package's way to endpoints it has no method for: `chat.completions.create` transforms every message
        by the types of its parameters, which is most of the time that a request takes.
        """
        assert self._client is not None
        return await self._client.post(
            "/chat/completions",
            cast_to=str,
            body={
                "model": self.model,
                "messages": [message.json() for message in messages],
                "temperature": self.endpoint.temperature,
                self._length_name: self.endpoint.max_tokens,
            },
        )

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
        times = openai.Timeout(
            self.endpoint.timeout_seconds, connect=self.endpoint.connect_seconds, read=self.endpoint.read_seconds
        )
        return openai.AsyncOpenAI(
            base_url=self.endpoint.base_url,
            api_key=self._key or "none",
            max_retries=0,
            timeout=times,
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=outside, base_url=self.endpoint.base_url, timeout=times
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
