"""A small OpenAI-compatible server on loopback whose answers and faults a test chooses.

    with FakeServer(answer=lambda messages: "hello", faults=[status(429, retry_after="0"), drop()]) as server:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake")

Faults of the list are used up one a request, in the order of arrival; then `chances` decides, if given; then `answer`
answers. It is a real server over real sockets: what the client does about a dropped connection is what it would do in
earnest. One event loop in a thread serves hundreds of requests at once; `routes` adds paths of other APIs to it.
`tests/fakes/openai_process.py` runs one as a process of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.fakes.openai_faults import Chances, Fault, body, drip, drop, fine, half, slow, status, wrong_usage

__all__ = [
    "Chances", "FakeServer", "Fault", "Messages", "Routes", "Seen", "body", "drip", "drop", "fine", "half", "slow",
    "status", "wrong_usage",
]

Messages = list[dict[str, str]]
MOST_ANSWERS_AT_ONCE = 64


@dataclass
class Seen:
    """What the server has received."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    most_at_once: int = 0


class FakeServer:
    """Serves /v1/chat/completions and /v1/models while entered.

    `answer` may block: it runs in a thread of its own, unless `threads` is False (cheaper, for rules that return at
    once).
    """

    def __init__(
        self,
        answer: Callable[[Messages], str] = lambda messages: "ok",
        faults: Iterable[Fault] = (),
        models: tuple[str, ...] = ("fake",),
        key: str | None = None,
        latency: float = 0.0,
        usage: bool = True,
        finish_reason: str = "stop",
        chances: Chances | None = None,
        routes: Iterable[Routes] = (),
        threads: bool = True,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.faults = list(faults)
        self.models = models
        self.key = key
        self.latency = latency
        self.usage = usage
        self.finish_reason = finish_reason
        self.chances = chances
        self.seen = Seen()
        self._routes = tuple(routes)
        self._now = 0
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._address: tuple[str, int] = self._socket.getsockname()
        self._workers = ThreadPoolExecutor(MOST_ANSWERS_AT_ONCE) if threads else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fake endpoint", daemon=True)
        self._started = threading.Event()

    @property
    def base_url(self) -> str:
        """What an experiment names as base_url."""
        return f"http://127.0.0.1:{self._address[1]}/v1"

    @property
    def asked(self) -> int:
        """How many chat requests came in, faulty ones included."""
        return len(self.seen.requests)

    def questions(self) -> list[str]:
        """The last message of each request."""
        return [request["messages"][-1]["content"] for request in self.seen.requests]

    def __enter__(self) -> Self:
        """Start serving."""
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving. Requests that are still being answered are dropped."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        # At rest, a server that went away refuses connections: its port may be another's, or its own again.
        self._socket.close()
        if self._workers is not None:
            self._workers.shutdown(wait=False, cancel_futures=True)

    def take(self, request: dict[str, Any], key: str, connection: tuple[str, int]) -> Fault:
        """Note a request and say what is to go wrong with it."""
        self.seen.requests.append(request)
        self.seen.keys.append(key)
        self.seen.connections.add(connection)
        self.seen.most_at_once = max(self.seen.most_at_once, self._now)
        if self.faults:
            return self.faults.pop(0)
        return self.chances.draw() if self.chances else fine()

    def refusal(self, request: dict[str, Any], key: str) -> Fault | None:
        """What a real endpoint says to a wrong key or an unknown model."""
        if self.key is not None and key != f"Bearer {self.key}":
            return status(401, message=f"Incorrect API key provided: {key.removeprefix('Bearer ')}")
        if request.get("model") not in self.models:
            told = f"The model `{request.get('model')}` does not exist"
            return status(404, message=told, error_code="model_not_found")
        return None

    async def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        """A whole chat completion."""
        if self._workers is None:
            text = self.answer(request["messages"])
        else:
            text = await self._loop.run_in_executor(self._workers, self.answer, request["messages"])
        words = sum(len(str(message["content"]).split()) for message in request["messages"])
        answer: dict[str, Any] = {
            "id": "chatcmpl-fake",
            "object": "chat.completion",
            "created": 0,
            "model": request["model"],
            "choices": [
                {"index": 0, "finish_reason": self.finish_reason, "message": {"role": "assistant", "content": text}}
            ],
        }
        if self.usage:
            spoken = len(text.split())
            answer["usage"] = {"prompt_tokens": words, "completion_tokens": spoken, "total_tokens": words + spoken}
        return answer

    # ------------------------------------------------------------------ HTTP

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        with self._one_more():
            assert http.transport is not None
            request = await http.json()
            key = http.headers.get("Authorization", "")
            fault = self.take(request, key, http.transport.get_extra_info("peername"))
            return await self._answer(http, request, self.refusal(request, key) or fault)

    @contextlib.contextmanager
    def _one_more(self) -> Iterator[None]:
        self._now += 1
        try:
            yield
        finally:
            self._now -= 1

    async def _answer(self, http: web.Request, request: dict[str, Any], fault: Fault) -> web.StreamResponse:
        if fault.kind != "drip":
            await asyncio.sleep(fault.delay or self.latency)
        if fault.kind in ("status", "body"):
            return web.Response(
                status=fault.code, text=fault.body, headers=dict(fault.headers), content_type="application/json"
            )
        if fault.kind == "drop":
            return await _in_pieces(http, b"", 0)
        answer = await self.completion(request)
        if fault.kind == "usage":
            answer["usage"] = json.loads(fault.body)
        whole = json.dumps(answer).encode()
        if fault.kind == "half":
            return await _in_pieces(http, whole[: len(whole) // 2], len(whole))
        if fault.kind == "drip":
            return await _in_pieces(http, b"", 1_000_000, _drops(fault.delay))
        return web.Response(body=whole, content_type="application/json")

    async def _ready(self, http: web.Request) -> web.StreamResponse:
        """As `llavaflow serve` has it."""
        return web.json_response({"ready": True})

    async def _list(self, http: web.Request) -> web.Response:
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]}
        return web.json_response(listed)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._list)
        app.router.add_get("/readyz", self._ready)
        for add in self._routes:
            add(app, self)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.SockSite(runner, self._socket).start())
        self._started.set()
        self._loop.run_forever()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()


Routes = Callable[[web.Application, FakeServer], None]
"""Adds paths to the application of a server, such as those of a Batch API."""


async def _in_pieces(
    http: web.Request, first: bytes, length: int, others: AsyncIterator[bytes] | None = None
) -> web.StreamResponse:
    """Send what there is of a body of that length, then hang up; with a length of 0, hang up at once."""
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(length)})
    with contextlib.suppress(ConnectionError):
        if length:
            await response.prepare(http)
            await response.write(first)
            if others is not None:
                async for piece in others:
                    await response.write(piece)
    if http.transport is not None:
        http.transport.close()
    return response


async def _drops(seconds: float) -> AsyncIterator[bytes]:
    while True:
        await asyncio.sleep(seconds)
        yield b" "
