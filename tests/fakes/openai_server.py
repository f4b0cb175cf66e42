"""A small OpenAI-compatible server on loopback whose answers and faults a test chooses.

    with FakeServer(answer=lambda messages: "hello", faults=[status(429, retry_after="0"), drop()]) as server:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake")

Faults are used up one a request, in the order of arrival; then `answer` answers. It is a real server over real
sockets: what the client does about a dropped connection is what it would do in earnest.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    kind: Literal["status", "drop", "half", "body", "none"]
    code: int = 200
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0


def fine() -> Fault:
    """Nothing goes wrong."""
    return Fault("none")


def status(code: int, retry_after: str | None = None, message: str = "no", error_code: str | None = None) -> Fault:
    """An HTTP error, with Retry-After where given."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    body = json.dumps({"error": {"message": message, "type": "fake", "code": error_code}})
    return Fault("status", code, body, headers)


def drop() -> Fault:
    """The connection ends without a byte of answer."""
    return Fault("drop")


def half() -> Fault:
    """The connection ends in the middle of the body."""
    return Fault("half")


def body(text: str) -> Fault:
    """HTTP 200 with a body that is not a chat completion."""
    return Fault("body", 200, text)


def slow(seconds: float) -> Fault:
    """A proper answer, late."""
    return Fault("none", delay=seconds)


@dataclass
class Seen:
    """What the server has received."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    most_at_once: int = 0


class FakeServer:
    """Serves /v1/chat/completions and /v1/models while entered."""

    def __init__(
        self,
        answer: Callable[[Messages], str] = lambda messages: "ok",
        faults: Iterable[Fault] = (),
        models: tuple[str, ...] = ("fake",),
        key: str | None = None,
        latency: float = 0.0,
        usage: bool = True,
        finish_reason: str = "stop",
    ) -> None:
        self.answer = answer
        self.faults = list(faults)
        self.models = models
        self.key = key
        self.latency = latency
        self.usage = usage
        self.finish_reason = finish_reason
        self.seen = Seen()
        self._lock = threading.Lock()
        self._now = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """What an experiment names as base_url."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def asked(self) -> int:
        """How many chat requests came in, faulty ones included."""
        return len(self.seen.requests)

    def questions(self) -> list[str]:
        """The last message of each request."""
        return [request["messages"][-1]["content"] for request in self.seen.requests]

    def __enter__(self) -> Self:
        """Start serving."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, request: dict[str, Any], key: str, connection: tuple[str, int]) -> Fault:
        """Note a request and say what is to go wrong with it."""
        with self._lock:
            self.seen.requests.append(request)
            self.seen.keys.append(key)
            self.seen.connections.add(connection)
            self._now += 1
            self.seen.most_at_once = max(self.seen.most_at_once, self._now)
            return self.faults.pop(0) if self.faults else fine()

    def done(self) -> None:
        """Note that a request is answered."""
        with self._lock:
            self._now -= 1

    def refusal(self, request: dict[str, Any], key: str) -> Fault | None:
        """What a real endpoint says to a wrong key or an unknown model."""
        if self.key is not None and key != f"Bearer {self.key}":
            return status(401, message=f"Incorrect API key provided: {key.removeprefix('Bearer ')}")
        if request.get("model") not in self.models:
            told = f"The model `{request.get('model')}` does not exist"
            return status(404, message=told, error_code="model_not_found")
        return None

    def completion(self, request: dict[str, Any]) -> str:
        """A whole chat completion as JSON."""
        text = self.answer(request["messages"])
        words = sum(len(str(message["content"]).split()) for message in request["messages"])
        answer = {
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
        return json.dumps(answer)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Bound", (_Handler,), {"fake": self})


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the server that `fake` is."""

    protocol_version = "HTTP/1.1"
    fake: FakeServer

    def do_GET(self) -> None:
        listed = {"object": "list", "data": [{"id": name, "object": "model"} for name in self.fake.models]}
        self._send(200, json.dumps(listed))

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization", "")
        fault = self.fake.take(request, key, self.client_address)
        try:
            self._answer(request, self.fake.refusal(request, key) or fault)
        finally:
            self.fake.done()

    def _answer(self, request: dict[str, Any], fault: Fault) -> None:
        time.sleep(fault.delay or self.fake.latency)
        if fault.kind == "drop":
            self._hang_up()
        elif fault.kind == "half":
            whole = self.fake.completion(request)
            self._send(200, whole[: len(whole) // 2], length=len(whole.encode()))
            self._hang_up()
        elif fault.kind == "none":
            self._send(200, self.fake.completion(request))
        else:
            self._send(fault.code, fault.body, headers=fault.headers)

    def _send(
        self, code: int, text: str, length: int | None = None, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        content = text.encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        # A client that has timed out is no longer there to read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(content)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass
