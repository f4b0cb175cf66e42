"""One request to /v1/chat/completions, from its bytes to its answer."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from configs.serve import Limits
from tasks.serve.admission import Admission
from tasks.serve.asked import Asked, EngineFailed, Piece, PromptRefused
from tasks.serve.conversation import Reader
from tasks.serve.failures import Refusal, bad, broken
from tasks.serve.figures import Figures
from tasks.serve.hang_up import HANG_UP, EventStream, HungUp, unless_gone
from tasks.serve.keys import Keys
from tasks.serve.replies import DONE, Reply, event
from tasks.serve.request import read_request
from tasks.serve.shadow import Answered, Shadowing
from tasks.serve.standing import Post

LOGGER = logging.getLogger("llavaflow.serve")
VERSION_HEADER = "X-Llavaflow-Version"


@dataclass
class Under:
    """A request under way: its name, when it came, until when it may take."""

    name: str
    begun: float
    deadline: float
    kept: ExitStack
    """What is given back when it ends."""


@dataclass
class Told:
    """What an answer has come to."""

    version: str = ""
    words: str = ""
    last: Piece | None = None
    first_at: float | None = None


class Answering:
    """Answers requests. `posts` are the models by the names clients may call them, the champion's first."""

    def __init__(
        self, posts: dict[str, Post], reader: Reader, limits: Limits, keys: Keys, figures: Figures,
        shadowing: Shadowing | None = None,
    ) -> None:
        self.posts, self._reader, self._limits, self._keys = posts, reader, limits, keys
        self._figures, self._shadowing = figures, shadowing
        self.admission = Admission(limits, figures)

    def check_key(self, request: Request) -> None:
        """Raises Refusal for a request without a valid key."""
        self._keys.check(request.headers.get("authorization"))

    async def respond(self, request: Request) -> Response:
        """The response to a request, whatever it holds."""
        kept = ExitStack()
        try:
            self.check_key(request)
            kept.enter_context(self.admission.entered())
            now = asyncio.get_running_loop().time()
            under = Under(f"chatcmpl-{uuid.uuid4().hex}", now, now + self._limits.seconds, kept)
            async with asyncio.timeout_at(under.deadline):
                body = await self._body(request)
                return await unless_gone(request.receive, self._answered(body, under))
        except HungUp:
            kept.close()
            self._figures.errors.labels("client_hung_up").inc()
            return Response(status_code=HANG_UP)
        except BaseException as error:
            kept.close()
            if isinstance(error, Exception) and (refusal := as_refusal(error)) is not None:
                return self.refused(refusal)
            raise

    def refused(self, refusal: Refusal) -> Response:
        """A refusal as a response, counted."""
        self._figures.errors.labels(refusal.code).inc()
        return JSONResponse(refusal.body(), refusal.status, headers=refusal.headers())

    async def _body(self, request: Request) -> bytes:
        """The body, no more of it than is allowed. Raises Refusal."""
        too_large = Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request_too_large",
            f"a request may have {self._limits.request_bytes:,} bytes",
        )
        if int(request.headers.get("content-length") or 0) > self._limits.request_bytes:
            raise too_large
        octets = bytearray()
        async for chunk in request.stream():
            octets += chunk
            if len(octets) > self._limits.request_bytes:
                raise too_large
        return bytes(octets)

    async def _answered(self, body: bytes, under: Under) -> Response:
        request = read_request(body)
        post = self._post(request.model)
        asked = await self._reader.read(request)
        told = Told()
        pieces = self._pieces(post, asked, under, told)
        if not request.stream:
            async with aclosing(pieces):
                async for _ in pieces:
                    pass
            return self._whole(post, under, told)
        # The first piece decides whether it is an answer or a refusal with a status of its own.
        first = await anext(pieces)
        wants_usage = request.stream_options is not None and request.stream_options.include_usage
        events = self._events(self._reply(post, under, told), first, pieces, under, told, wants_usage)
        return EventStream(events, pieces, {VERSION_HEADER: told.version})

    def _post(self, model: str) -> Post:
        """The model of a name. Raises Refusal."""
        if (post := self.posts.get(model)) is not None:
            return post
        known = ", ".join(self.posts)
        raise Refusal(HTTPStatus.NOT_FOUND, "model_not_found", f"there is no such model; there are: {known}", "model")

    async def _pieces(self, post: Post, asked: Asked, under: Under, told: Told) -> AsyncGenerator[Piece, None]:
        """The pieces of the answer, noted down. Gives back what the request holds when it ends, however that is."""
        with under.kept:
            async with self.admission.place(), aclosing(post.answer(asked)) as pieces:
                async for told.version, piece in pieces:
                    if told.first_at is None:
                        told.first_at = asyncio.get_running_loop().time()
                        self._figures.first.observe(told.first_at - under.begun)
                    told.words += piece.text
                    if piece.finish is not None:
                        told.last = piece
                    yield piece
            self._note(asked, under, told, shadowed=post is next(iter(self.posts.values())))

    def _note(self, asked: Asked, under: Under, told: Told, *, shadowed: bool) -> None:
        """Count a whole answer, and let the challenger answer too."""
        if told.last is None or told.first_at is None:
            raise EngineFailed("the engine did not end its answer")
        now, figures = asyncio.get_running_loop().time(), self._figures
        figures.requests.labels(told.version).inc()
        figures.whole.observe(now - under.begun)
        figures.prompt_tokens.inc(told.last.prompt_tokens)
        figures.answer_tokens.inc(told.last.completion_tokens)
        if told.last.completion_tokens > 1 and now > told.first_at:
            figures.rate.observe((told.last.completion_tokens - 1) / (now - told.first_at))
        if self._shadowing is not None and shadowed:
            self._shadowing.offer(under.name, asked, Answered(told.version, told.words, now - under.begun))

    def _whole(self, post: Post, under: Under, told: Told) -> Response:
        assert told.last is not None, "a whole answer has an end"
        body = self._reply(post, under, told).whole(told.words, told.last)
        return JSONResponse(body, headers={VERSION_HEADER: told.version})

    def _reply(self, post: Post, under: Under, told: Told) -> Reply:
        return Reply(under.name, int(time.time()), f"{post.name}/{told.version}")

    async def _events(
        self, reply: Reply, first: Piece, rest: AsyncGenerator[Piece, None], under: Under, told: Told,
        wants_usage: bool,
    ) -> AsyncGenerator[bytes, None]:
        """The events of a streamed answer. What goes wrong now can only be told in the stream."""
        try:
            async with asyncio.timeout_at(under.deadline), aclosing(rest):
                yield reply.first()
                async for piece in _chained(first, rest):
                    if piece.text:
                        yield reply.chunk(piece)
            assert told.last is not None, "a whole answer has an end"
            yield reply.last(told.last)
            if wants_usage:
                yield reply.counted(told.last)
        except (EngineFailed, TimeoutError) as error:
            refusal = as_refusal(error) or broken()
            self._figures.errors.labels(refusal.code).inc()
            yield event(refusal.body())
        except asyncio.CancelledError:
            self._figures.errors.labels("client_hung_up").inc()
            raise
        yield DONE


def as_refusal(error: Exception) -> Refusal | None:
    """How an error is told; None for one that nobody foresaw."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, PromptRefused):
        return bad(error.code, str(error), "messages")
    if isinstance(error, TimeoutError):
        return Refusal(HTTPStatus.GATEWAY_TIMEOUT, "timeout", "the answer took longer than is allowed")
    if isinstance(error, EngineFailed):
        LOGGER.error("an engine failed: %s", error)
        return Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE, "engine_failed", "the model is not ready; try again", retry_after=5
        )
    return None


async def _chained(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        yield piece


