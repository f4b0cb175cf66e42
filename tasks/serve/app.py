"""The gateway as an ASGI app: the routes, and what runs beside them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from configs.serve import ServeConfig
from tasks.serve.answering import Answering
from tasks.serve.conversation import Reader
from tasks.serve.failures import Refusal, broken
from tasks.serve.figures import CONTENT_TYPE, Figures
from tasks.serve.following import Follower, Open, Source, Tell
from tasks.serve.keys import Keys
from tasks.serve.remote import Fetcher
from tasks.serve.shadow import PairStore, Shadowing
from tasks.serve.standing import Post

LOGGER = logging.getLogger("llavaflow.serve")
DECODING_THREADS = 2
CHALLENGER = "challenger"


@dataclass(frozen=True)
class Parts:
    """What the app is made of that differs from place to place."""

    name: str
    """What clients call the model."""
    config: ServeConfig
    source: Source
    opener: Open
    keys: Keys
    tell: Tell
    """What alerts are handed to."""
    challenger: Source | None = None
    pairs: Path = field(default=Path("pairs.db"))
    """Where pairs of answers are stored."""
    also: tuple[str, ...] = ()
    """Further names of the model."""


def build_app(parts: Parts) -> FastAPI:
    """The app. It is ready (/readyz) once the model is loaded and has passed its canary."""
    gateway = Gateway(parts)
    # Pages that describe the API would be fetched from elsewhere.
    app = FastAPI(title="llavaflow", docs_url=None, redoc_url=None, openapi_url=None, lifespan=gateway.lifespan())
    app.state.gateway = gateway
    for path, methods, route in gateway.routes():
        app.add_api_route(path, route, methods=list(methods), response_model=None)
    app.add_exception_handler(HTTPStatus.NOT_FOUND, gateway.no_such_path)
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, gateway.no_such_path)
    app.add_exception_handler(Exception, gateway.unforeseen)
    return app


class Gateway:
    """The routes and their state."""

    def __init__(self, parts: Parts) -> None:
        config = parts.config
        self.figures = Figures()
        self.champion = Post(parts.name)
        self.challenger = None if parts.challenger is None else Post(f"{parts.name}@{CHALLENGER}")
        self.shadowing = None
        if self.challenger is not None and config.shadow.share > 0:
            self.shadowing = Shadowing(self.challenger, config.shadow, PairStore(parts.pairs), self.figures)
        self._threads = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="images")
        reader = Reader(config.limits, Fetcher(config.fetching, config.limits), self._threads)
        posts = {parts.name: self.champion} | ({self.challenger.name: self.challenger} if self.challenger else {})
        posts |= {name: self.champion for name in parts.also}
        self.answering = Answering(posts, reader, config.limits, parts.keys, self.figures, self.shadowing)
        self.followers = [
            Follower(post, source, parts.opener, config.following, config.limits, figures, parts.tell)
            for post, source, figures in (
                (self.champion, parts.source, self.figures), (self.challenger, parts.challenger, Figures())
            )
            if post is not None and source is not None
        ]

    def routes(self) -> Sequence[tuple[str, tuple[str, ...], Callable[..., object]]]:
        """Path, methods and function of every route."""
        return (
            ("/v1/chat/completions", ("POST",), self.chat),
            ("/v1/models", ("GET",), self.models),
            ("/v1/models/{model:path}", ("GET",), self.model),
            ("/healthz", ("GET",), self.health),
            ("/readyz", ("GET",), self.readiness),
            ("/metrics", ("GET",), self.metrics),
        )

    def lifespan(self) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
        """Follow the registry while the app runs; end the engines with it."""

        @asynccontextmanager
        async def run(app: FastAPI) -> AsyncIterator[None]:
            following = [asyncio.create_task(follower.run()) for follower in self.followers]
            for task in following:
                task.add_done_callback(_ended)
            try:
                yield
            finally:
                for task in following:
                    task.cancel()
                await asyncio.gather(*following, return_exceptions=True)
                if self.shadowing is not None:
                    await self.shadowing.settled()
                for post in (self.champion, self.challenger):
                    if post is not None:
                        await post.close()
                self._threads.shutdown(wait=False, cancel_futures=True)

        return run

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions."""
        return await self.answering.respond(request)

    async def models(self, request: Request) -> Response:
        """GET /v1/models: what can be asked, with the version that answers."""
        try:
            self.answering.check_key(request)
        except Refusal as refusal:
            return self.answering.refused(refusal)
        return JSONResponse({"object": "list", "data": [_row(name, post) for name, post in self._named()]})

    async def model(self, request: Request, model: str) -> Response:
        """GET /v1/models/NAME."""
        try:
            self.answering.check_key(request)
        except Refusal as refusal:
            return self.answering.refused(refusal)
        if (post := self.answering.posts.get(model)) is None:
            told = Refusal(HTTPStatus.NOT_FOUND, "model_not_found", "there is no such model", "model")
            return self.answering.refused(told)
        return JSONResponse(_row(model, post))

    async def health(self) -> Response:
        """GET /healthz: the process runs."""
        return PlainTextResponse("ok")

    async def readiness(self) -> Response:
        """GET /readyz: a model is loaded and can be asked."""
        if self.champion.ready and self.champion.now is not None:
            return JSONResponse({"ready": True, "model": self.champion.name, "version": self.champion.now.version})
        return JSONResponse({"ready": False}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self) -> Response:
        """GET /metrics, for Prometheus."""
        return Response(self.figures.text(), media_type=CONTENT_TYPE)

    async def no_such_path(self, request: Request, error: Exception) -> Response:
        """404 and 405 in OpenAI's form."""
        status = HTTPStatus(getattr(error, "status_code", HTTPStatus.NOT_FOUND))
        return self.answering.refused(Refusal(status, "unknown_url", f"{status.phrase}: see /v1/chat/completions"))

    async def unforeseen(self, request: Request, error: Exception) -> Response:
        """Whatever else goes wrong: the cause is logged by the server, and not told."""
        return self.answering.refused(broken())

    def _named(self) -> list[tuple[str, Post]]:
        return [(post.name, post) for post in (self.champion, self.challenger) if post is not None]


def _row(name: str, post: Post) -> dict[str, object]:
    version = None if post.now is None else f"{post.name}/{post.now.version}"
    return {"id": name, "object": "model", "created": 0, "owned_by": "llavaflow", "root": version}


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        LOGGER.critical("the registry is not followed any longer: %r", error)
