"""An OpenAI-compatible endpoint that sees: it names the main colour and the size of the images it is shown.

    with VisionEndpoint(models=("champion", "challenger"), versions={"champion": "llavaflow/3"}) as server: ...

What it says is a function of the request. Streamed answers come word by word, `pace` seconds apart.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from aiohttp import web
from PIL import Image

from tests.fakes.openai_faults import Fault
from tests.fakes.openai_server import FakeServer

COLOURS = {
    "red": (216, 32, 36), "green": (34, 150, 60), "blue": (36, 72, 214), "yellow": (240, 212, 28),
    "white": (255, 255, 255), "black": (0, 0, 0), "grey": (128, 128, 128),
}


def nearest(rgb: tuple[int, int, int]) -> str:
    """The name of the colour that is nearest to this one."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], rgb, strict=True)))


def seen_in(url: str) -> str:
    """What the image of a data URI shows."""
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        dot = image.convert("RGB").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        assert isinstance(dot, tuple)
        return f"a {nearest((int(dot[0]), int(dot[1]), int(dot[2])))} picture of {image.width} by {image.height} pixels"


def images_of(messages: list[dict[str, Any]]) -> list[str]:
    """The images of all messages, as data URIs."""
    parts = [part for message in messages if isinstance(message["content"], list) for part in message["content"]]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def text_of(message: dict[str, Any]) -> str:
    """The words of a message."""
    content = message["content"]
    if isinstance(content, str):
        return content
    return " ".join(part["text"] for part in content if part["type"] == "text")


def answer_to(request: dict[str, Any]) -> str:
    """What the endpoint says: the model, what it sees, which turn this is, and the question."""
    messages = request["messages"]
    seen = " and ".join(map(seen_in, images_of(messages))) or "no picture"
    turn = sum(message["role"] == "user" for message in messages)
    return f"I see {seen}. Turn {turn}. You asked: {text_of(messages[-1])}"


class VisionEndpoint(FakeServer):
    """Serves streams, too. `versions` says how a model calls itself in its answers; `manners` what one adds to them."""

    def __init__(
        self, models: tuple[str, ...] = ("champion", "challenger"), versions: Mapping[str, str] | None = None,
        manners: Mapping[str, str] | None = None, pace: float = 0.0, port: int = 0, faults: tuple[Fault, ...] = (),
    ) -> None:
        super().__init__(models=models, threads=False, port=port, faults=faults)
        self.versions, self.manners, self.pace = dict(versions or {}), dict(manners or {}), pace
        self.finished = 0
        self.hung_up = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._address[1]

    async def _answer(self, http: web.Request, request: dict[str, Any], fault: Fault) -> web.StreamResponse:
        if fault.kind not in ("none", "half"):
            return await super()._answer(http, request, fault)
        if not request.get("stream"):
            raise NotImplementedError("this endpoint streams")
        return await self._streamed(http, request, cut=fault.kind == "half")

    async def _streamed(self, http: web.Request, request: dict[str, Any], *, cut: bool) -> web.StreamResponse:
        said = f"{answer_to(request)}{self.manners.get(request['model'], '')}".split(" ")
        words = [said[0], *(f" {word}" for word in said[1:])][: request.get("max_tokens") or None]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        with self._hang_ups():
            for place, word in enumerate(words):
                if cut and place == len(words) // 2:
                    assert http.transport is not None
                    http.transport.abort()
                    return response
                await response.write(_event(self._chunk(request, [{"index": 0, "delta": {"content": word}}])))
                await asyncio.sleep(self.pace)
            done = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
            await response.write(_event(self._chunk(request, done)))
            usage = {"prompt_tokens": 1, "completion_tokens": len(words), "total_tokens": 1 + len(words)}
            await response.write(_event(self._chunk(request, []) | {"usage": usage}))
            await response.write(b"data: [DONE]\n\n")
            self.finished += 1
        return response

    @contextlib.contextmanager
    def _hang_ups(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up += 1
            raise

    def _chunk(self, request: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
        model = self.versions.get(request["model"], request["model"])
        return {"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": 0, "model": model,
                "choices": choices}  # fmt: skip


def _event(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()
