"""The gateway on a real socket, with engines and registries that do as a test says."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import openai
import uvicorn
from fastapi import FastAPI
from PIL import Image

from configs.serve import ServeConfig
from tasks.errors import LlavaflowError, ModelError
from tasks.serve.app import Gateway, Parts, build_app
from tasks.serve.asked import Asked, Engine, EngineFailed, Piece
from tasks.serve.following import Canary, Source
from tasks.serve.keys import Keys

PATIENCE = 20.0


class Echo:
    """An engine that says its name, what it was shown and what it heard, word by word."""

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.alive = True
        self.held = False
        """While true, answers stop after their first word."""
        self.breaks = False
        """Answers break before their first word."""
        self.under_way = 0
        self.most = 0
        self.called_off = 0
        self.closed = False
        self.asked: list[Asked] = []

    async def answer(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        self.asked.append(asked)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        whole = False
        try:
            if self.breaks or self.closed:
                raise EngineFailed("it broke")
            for number, word in enumerate(words := self.words(asked)[: asked.limit]):
                yield Piece(word if not number else f" {word}")
                await asyncio.sleep(0)
                while self.held:
                    await asyncio.sleep(0.002)
            whole = True
            yield Piece("", "stop", 10, len(words))
        finally:
            self.under_way -= 1
            self.called_off += not whole

    async def close(self) -> None:
        self.closed, self.alive = True, False

    def words(self, asked: Asked) -> list[str]:
        shown = [picture.digest[:8] for said in asked.said for picture in said.pictures]
        return [self.name, *shown, *asked.said[-1].words.split()]


@dataclass
class Versions:
    """A registry in memory: where the alias points, and the engine of each version."""

    engines: dict[str, Echo] = field(default_factory=lambda: {"1": Echo("one")})
    alias: str | None = "1"
    canaries: dict[str, Canary] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    silent: bool = False

    def pointed(self) -> str | None:
        if self.silent:
            raise LlavaflowError("the registry is away")
        return self.alias

    def folder(self, version: str) -> Path:
        return Path(version)

    def canary(self, version: str) -> Canary:
        return self.canaries.get(version, Canary())

    async def open(self, folder: Path) -> Engine:
        self.opened.append(str(folder))
        if str(folder) not in self.engines:
            raise ModelError(f"{folder} is no model")
        return self.engines[str(folder)]

    def tell(self, event: str, payload: Mapping[str, str]) -> None:
        self.told.append((event, payload["version"]))


@dataclass
class Endpoint:
    """A gateway that runs."""

    base: str
    gateway: Gateway
    clients: list[openai.OpenAI] = field(default_factory=list)
    """Closed with the gateway: what a test leaves open would warn in another."""

    def client(self, key: str = "none") -> openai.OpenAI:
        self.clients.append(openai.OpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0, timeout=PATIENCE))
        return self.clients[-1]

    def post(self, body: object, **headers: str) -> httpx.Response:
        return httpx.post(f"{self.base}/v1/chat/completions", json=body, headers=headers, timeout=PATIENCE)

    def figure(self, name: str, **labels: str) -> float:
        return self.gateway.figures.registry.get_sample_value(name, labels) or 0.0


def knobs(**tree: object) -> ServeConfig:
    """A configuration that looks at the registry often."""
    following = {"poll_seconds": 0.02, "probation_seconds": 0.3, "drain_seconds": PATIENCE}
    return ServeConfig.model_validate({"following": following, **tree})


def parts(
    versions: Versions, config: ServeConfig | None = None, keys: str = "", challenger: Source | None = None,
    pairs: Path | None = None,
) -> Parts:
    return Parts(
        "llavaflow", config or knobs(), versions, versions.open, Keys.of(keys), versions.tell, challenger,
        pairs or Path("pairs.db"),
    )


@contextmanager
def serving(made: Parts, *, ready: bool = True) -> Iterator[Endpoint]:
    """Run the gateway on loopback in a thread."""
    app = build_app(made)
    with listening(app) as base:
        endpoint = Endpoint(base, app.state.gateway)
        if ready:
            until(lambda: endpoint.gateway.champion.ready)
        try:
            yield endpoint
        finally:
            for client in endpoint.clients:
                client.close()


@contextmanager
def listening(app: FastAPI) -> Iterator[str]:
    """Any app on a port of loopback."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def until(true: object) -> None:
    """Wait for something to come true."""
    assert callable(true)
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)


def picture(colour: str | tuple[int, ...] = "red", size: tuple[int, int] = (40, 30), kind: str = "PNG") -> bytes:
    """An image file of one colour with a blue corner, so that it has an upside."""
    image = Image.new("RGB", size, colour)
    image.paste("blue", (0, 0, size[0] // 2, size[1] // 3))
    return encoded(image, kind)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def data_uri(octets: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(octets).decode()}"


def asking(words: str, *urls: str, **more: object) -> dict[str, object]:
    """The body of a request."""
    shown = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*shown, {"type": "text", "text": words}] if urls else words
    return {"model": "llavaflow", "messages": [{"role": "user", "content": content}], **more}
