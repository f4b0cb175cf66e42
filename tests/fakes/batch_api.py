"""The Batch API of an OpenAI-compatible endpoint, on loopback, whose endings and faults a test chooses.

    with FakeBatchApi(answer=lambda messages: "hello", endings=[Ending("expired", answered=3), Ending()]) as server:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", batch=BatchConfig())

A batch moves on by one state whenever it is looked at: validating, in_progress, finalizing, and its ending. No clock is
read. `answered_keys` counts how often each custom_id was answered, which is what would be paid for.
"""

from __future__ import annotations

import contextlib
import email
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

Messages = list[dict[str, str]]
Call = Literal["upload", "create", "look", "list", "cancel", "content", "chat"]
Json = dict[str, Any]
PATH = ("validating", "in_progress", "finalizing")
PAGE = 20


@dataclass(frozen=True)
class Ending:
    """How a batch ends. The first `answered` of its requests are answered (None: all)."""

    status: Literal["completed", "expired", "cancelled", "failed"] = "completed"
    answered: int | None = None
    errors: tuple[Json, ...] = ()
    """Of a batch that failed: {code, message, line}."""
    mangle: Callable[[list[str]], list[str]] = list
    """What becomes of the lines of the output file."""
    trouble: Mapping[str, tuple[int, Json]] = field(default_factory=dict)
    """Last message of a request to the HTTP status and body that it gets instead of an answer."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one call. `done`: it is carried out all the same, and the answer is lost."""

    code: int = 0
    """HTTP status; 0 drops the connection."""
    body: Json = field(default_factory=dict)
    done: bool = False
    half: bool = False
    """The connection ends in the middle of the answer."""


@dataclass
class _Batch:
    shown: Json
    ending: Ending
    lines: list[Json]
    looks: int = 0


class FakeBatchApi:
    """Serves /v1/files, /v1/batches and /v1/chat/completions while entered."""

    def __init__(
        self,
        answer: Callable[[Messages], str] = lambda messages: "ok",
        endings: Iterable[Ending] = (),
        faults: Mapping[Call, Iterable[Fault]] | None = None,
        key: str | None = None,
        steps: int = 1,
        max_bytes: int | None = None,
    ) -> None:
        self.answer = answer
        self.endings = list(endings)
        self.faults = {call: list(some) for call, some in (faults or {}).items()}
        self.key = key
        self.steps = steps
        """Looks at a batch until it has ended."""
        self.max_bytes = max_bytes
        self.calls: list[Call] = []
        self.batches: dict[str, _Batch] = {}
        self.files: dict[str, bytes] = {}
        self.answered_keys: Counter[str] = Counter()
        self._lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True

    @property
    def base_url(self) -> str:
        """What an experiment names as base_url."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def sizes(self) -> list[int]:
        """Requests in each batch, in the order of creation."""
        return [len(batch.lines) for batch in self.batches.values()]

    def __enter__(self) -> Self:
        """Start serving."""
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------------ one call

    def fault(self, call: Call) -> Fault | None:
        """Note a call and say what is to go wrong with it."""
        with self._lock:
            self.calls.append(call)
            waiting = self.faults.get(call)
            return waiting.pop(0) if waiting else None

    def do(self, call: Call, path: list[str], query: Mapping[str, list[str]], body: bytes, kind: str) -> Any:
        """The answer to a call: JSON, or the bytes of a file. Raises KeyError for what is not there."""
        with self._lock:
            match call:
                case "upload":
                    return self._upload(body, kind)
                case "create":
                    return self._create(json.loads(body))
                case "look":
                    return self._look(path[-1])
                case "list":
                    return self._list(query)
                case "cancel":
                    self.batches[path[-2]].ending = Ending("cancelled", 0)
                    return self.batches[path[-2]].shown
                case "content":
                    return self.files[path[-2]]
                case "chat":
                    return self._completion(json.loads(body))

    def _upload(self, body: bytes, kind: str) -> Json:
        form = email.message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
        parts = {part.get_param("name", header="content-disposition"): part for part in form.walk()}
        name, content = f"file-{len(self.files)}", parts["file"].get_payload(decode=True)
        assert isinstance(content, bytes) and parts["purpose"].get_payload(decode=True) == b"batch"
        self.files[name] = content
        return {
            "id": name, "object": "file", "bytes": len(content), "created_at": 0, "filename": "x", "purpose": "batch",
        }

    def _create(self, asked: Json) -> Json:
        name = f"batch_{len(self.batches)}"
        lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        keys = [line["custom_id"] for line in lines]
        assert len(set(keys)) == len(keys) and all(line["url"] == asked["endpoint"] for line in lines)
        shown = {
            "id": name, "object": "batch", "status": "validating", "created_at": int(time.time()), **asked,
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
        }
        self.batches[name] = _Batch(shown, self.endings.pop(0) if self.endings else Ending(), lines)
        return shown

    def _list(self, query: Mapping[str, list[str]]) -> Json:
        """Newest first, a few a page."""
        names = [*reversed(self.batches)]
        start = names.index(query["after"][0]) + 1 if "after" in query else 0
        page = [self.batches[name].shown for name in names[start : start + PAGE]]
        return {"object": "list", "data": page, "has_more": len(names) > start + PAGE}

    def _look(self, name: str) -> Json:
        batch = self.batches[name]
        batch.looks += 1
        if batch.shown["status"] in PATH:
            if batch.looks >= self.steps:
                self._end(batch)
            else:
                batch.shown["status"] = PATH[min(batch.looks, len(PATH) - 1)]
        return batch.shown

    # ------------------------------------------------------------------ the end of a batch

    def _end(self, batch: _Batch) -> None:
        ending = batch.ending
        batch.shown["status"] = ending.status
        if ending.status == "failed":
            batch.shown["errors"] = {"object": "list", "data": list(ending.errors)}
            return
        count = len(batch.lines) if ending.answered is None else ending.answered
        good: list[str] = []
        bad: list[str] = []
        for line in batch.lines[:count]:
            trouble = ending.trouble.get(line["body"]["messages"][-1]["content"])
            code, body = trouble or (200, self._completion(line["body"]))
            response = {"status_code": code, "request_id": "r", "body": body}
            (bad if trouble else good).append(_output(line, response, None))
            self.answered_keys[line["custom_id"]] += not trouble
        bad += [_output(line, None, _left(ending.status)) for line in batch.lines[count:]]
        batch.shown["request_counts"] = {"total": len(batch.lines), "completed": len(good), "failed": len(bad)}
        for field_, lines in (("output_file_id", ending.mangle(good)), ("error_file_id", bad)):
            if lines:
                batch.shown[field_] = f"file-{len(self.files)}"
                self.files[batch.shown[field_]] = ("\n".join(lines) + "\n").encode()

    def _completion(self, request: Json) -> Json:
        text = self.answer(request["messages"])
        words = sum(len(message["content"].split()) for message in request["messages"])
        return {
            "id": "chatcmpl-fake", "object": "chat.completion", "created": 0, "model": request["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": words, "completion_tokens": len(text.split()), "total_tokens": 0},
        }


def _output(line: Json, response: Json | None, error: Json | None) -> str:
    return json.dumps({"id": "x", "custom_id": line["custom_id"], "response": response, "error": error})


def _left(status: str) -> Json:
    return {"code": f"batch_{status}", "message": "This request was not executed before the batch ended."}


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for the server that `fake` is."""

    protocol_version = "HTTP/1.1"
    fake: FakeBatchApi

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        url = urlsplit(self.path)
        path = url.path.strip("/").split("/")
        call = _call(self.command, path)
        fault = self.fake.fault(call)
        if self.fake.key is not None and self.headers.get("Authorization") != f"Bearer {self.fake.key}":
            told = f"Incorrect API key provided: {self.headers.get('Authorization')}"
            self._send(401, {"error": {"message": told, "code": "invalid_api_key"}})
        elif fault is not None and not (fault.done or fault.half):
            self._fail(fault)
        elif call == "upload" and self.fake.max_bytes is not None and len(body) > self.fake.max_bytes:
            self._send(413, {"error": {"message": "Payload too large", "code": None}})
        else:
            self._carry_out(call, path, parse_qs(url.query), body, fault)

    def _carry_out(
        self, call: Call, path: list[str], query: Mapping[str, list[str]], body: bytes, fault: Fault | None
    ) -> None:
        try:
            answer = self.fake.do(call, path, query, body, self.headers.get("Content-Type", ""))
        except KeyError as error:
            self._send(404, {"error": {"message": f"no such thing: {error}", "code": None}})
            return
        if fault is None:
            self._send(200, answer)
        elif fault.half:
            self._send(200, answer, half=True)
            self._hang_up()
        else:
            self._fail(fault)

    def _fail(self, fault: Fault) -> None:
        if fault.code:
            self._send(fault.code, {"error": {"message": "no", "code": None, **fault.body}})
        else:
            self._hang_up()

    def _send(self, code: int, answer: Any, half: bool = False) -> None:
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        # A client that was killed is no longer there to read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.wfile.write(content[: len(content) // 2] if half else content)

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _call(method: str, path: list[str]) -> Call:
    if path[-1] == "completions":
        return "chat"
    if "files" in path:
        return "upload" if method == "POST" else "content"
    if path[-1] == "cancel":
        return "cancel"
    if path[-1] == "batches":
        return "create" if method == "POST" else "list"
    return "look"
