"""The batched engine: a worker process with the model in it, asked through a pipe."""

from __future__ import annotations

import asyncio
import itertools
import logging
import multiprocessing
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from tasks.errors import ModelError
from tasks.serve.asked import Asked, EngineFailed, Piece, PromptRefused
from tasks.serve.worker import END, Model, Out, Ready, Refused, serve_model

LOGGER = logging.getLogger("llavaflow.serve")
GRACE_SECONDS = 5.0


class ProcessEngine:
    """See `tasks.serve.asked.Engine`. Made by `start`."""

    def __init__(self, process: SpawnProcess, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe
        self._loop = asyncio.get_running_loop()
        self._names = itertools.count()
        self._answers: dict[str, asyncio.Queue[Piece | Refused | None]] = {}
        self._ready: asyncio.Future[Refused | None] = self._loop.create_future()
        self._gone = False
        # A thread of its own: a large image may take a moment to go through the pipe.
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="to-engine")
        threading.Thread(target=self._read, name="from-engine", daemon=True).start()

    @classmethod
    async def start(cls, model: Model, seconds: float) -> ProcessEngine:
        """Load a model in a process of its own. Raises ModelError if that fails, or takes longer."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve_model, args=(theirs, model), name="llavaflow-engine", daemon=True)
        await asyncio.to_thread(process.start)
        theirs.close()
        engine = cls(process, ours)
        try:
            async with asyncio.timeout(seconds):
                refused = await engine._ready
        except TimeoutError:
            await engine.close()
            raise ModelError(f"{model.folder} was not loaded within {seconds:.0f} s") from None
        except asyncio.CancelledError:
            await engine.close()
            raise
        if refused is not None:
            await engine.close()
            raise ModelError(refused.message)
        return engine

    @property
    def alive(self) -> bool:
        """See `Engine`."""
        return not self._gone

    @property
    def process_id(self) -> int | None:
        """Of the worker."""
        return self._process.pid

    async def answer(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """See `Engine`."""
        if self._gone:
            raise EngineFailed("the engine has ended")
        name = str(next(self._names))
        pieces: asyncio.Queue[Piece | Refused | None] = asyncio.Queue()
        self._answers[name] = pieces
        ended = False
        try:
            self._send((name, asked))
            while not ended:
                piece = _joined(await pieces.get(), pieces)
                ended = not isinstance(piece, Piece) or piece.finish is not None
                yield _piece(piece)
        finally:
            self._answers.pop(name, None)
            if not ended:
                self._send((name, None))

    async def close(self) -> None:
        """See `Engine`. The worker is told to end, so that it leaves nothing behind; one that does not is killed."""
        if not self._gone:
            self._gone = True
            self._sender.submit(self._write, (END, None))
        self._sender.shutdown(wait=False)
        await asyncio.to_thread(self._end)
        self._lost()

    def _end(self) -> None:
        self._process.join(GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()

    def _send(self, message: tuple[str, Asked | None]) -> None:
        if not self._gone:
            self._sender.submit(self._write, message)

    def _write(self, message: tuple[str, Asked | None]) -> None:
        try:
            self._pipe.send(message)
        except (OSError, ValueError):
            LOGGER.debug("the engine's pipe is closed")

    def _read(self) -> None:
        """In a thread: what comes from the worker, handed to the event loop a step at a time."""
        while True:
            try:
                out: list[Out] = self._pipe.recv()
            except (EOFError, OSError):
                break
            self._call(self._hand_out, out)
        self._call(self._lost)

    def _call(self, function: object, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)  # type: ignore[arg-type]
        except RuntimeError:
            LOGGER.debug("the event loop is closed")

    def _hand_out(self, out: list[Out]) -> None:
        for told in out:
            if isinstance(told, Ready):
                self._ready.set_result(None)
            elif isinstance(told, Refused) and not told.name:
                self._ready.set_result(told)
            else:
                name, piece = (told.name, told) if isinstance(told, Refused) else told
                if (pieces := self._answers.get(name)) is not None:
                    pieces.put_nowait(piece)

    def _lost(self) -> None:
        self._gone = True
        if not self._ready.done():
            self._ready.set_result(Refused("", "model_not_loaded", "the engine's process ended while it loaded"))
        for pieces in self._answers.values():
            pieces.put_nowait(None)


def _joined(
    first: Piece | Refused | None, pieces: asyncio.Queue[Piece | Refused | None]
) -> Piece | Refused | None:
    """All that is there already as one piece: when the network is slower than the model, events become fewer."""
    while isinstance(first, Piece) and first.finish is None and not pieces.empty():
        further = pieces.get_nowait()
        if not isinstance(further, Piece):
            return further
        first = Piece(first.text + further.text, further.finish, further.prompt_tokens, further.completion_tokens)
    return first


def _piece(told: Piece | Refused | None) -> Piece:
    if told is None:
        raise EngineFailed("the engine's process ended")
    if isinstance(told, Refused):
        raise PromptRefused(told.code, told.message)
    return told
