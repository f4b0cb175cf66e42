"""The process that holds one model: questions come in by a pipe, pieces of answers go out by it.

The main thread decodes and does nothing else; a second one reads the pipe and prepares prompts and pixels, so that a
step never waits for them. The process ends with the pipe: none outlives the gateway.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from tasks.serve.asked import Asked, Piece

if TYPE_CHECKING:
    from model.decode.live import LiveBatch, LiveJob, Token
    from model.decode.words_out import WordsOut


END = ""
"""In place of a question's name: the process is to end."""


@dataclass(frozen=True)
class Model:
    """What a worker loads, and how."""

    folder: Path
    precision: Literal["fp32", "bf16"]
    threads: int
    batch: int


@dataclass(frozen=True)
class Ready:
    """The model is loaded."""


@dataclass(frozen=True)
class Refused:
    """A question that the model cannot take, or a model that cannot be loaded (`name` is empty)."""

    name: str
    code: str
    message: str


Out = Ready | Refused | tuple[str, Piece]


def serve_model(pipe: Connection, model: Model) -> None:
    """The process: load, say so, answer until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the gateway, which closes the pipe
    os.environ["OMP_NUM_THREADS"] = str(model.threads)
    from model.errors import ModelError

    try:
        from tasks.serve.holding import hold

        held = hold(model)
    except (ModelError, OSError, ValueError) as error:
        pipe.send([Refused("", "model_not_loaded", " ".join(str(error).split())[:1000])])
        return
    pipe.send([Ready()])
    Loop(pipe, held).run()


class Held(Protocol):
    """A loaded model as a worker uses it: how a question becomes a job, and tokens words."""

    @property
    def batch(self) -> LiveBatch:
        """The running batch."""

    def job(self, name: str, asked: Asked) -> LiveJob:
        """The question in ids and pixels. Raises PromptRefused or ModelError."""

    def words(self, asked: Asked) -> WordsOut:
        """The words of its answer."""


@dataclass
class _Answer:
    words: WordsOut
    prompt_tokens: int
    tokens: int = 0


@dataclass(frozen=True)
class _Prepared:
    job: LiveJob
    words: WordsOut


class Loop:
    """Reads, decodes, writes."""

    def __init__(self, pipe: Connection, held: Held) -> None:
        self._pipe, self._held = pipe, held
        self._inbox: queue.SimpleQueue[_Prepared | Refused | str | None] = queue.SimpleQueue()
        self._answers: dict[str, _Answer] = {}

    def run(self) -> None:
        """Until the pipe closes."""
        threading.Thread(target=self._read, name="reader", daemon=True).start()
        while True:
            out: list[Out] = []
            if not self._take(out):
                return
            if not self._held.batch.idle:
                out += [piece for token in self._held.batch.step() if (piece := self._told(token)) is not None]
            if out:
                try:
                    self._pipe.send(out)
                except OSError:  # the gateway is gone
                    return

    def _read(self) -> None:
        """What comes by the pipe: (name, question), or (name, None) to call one off."""
        while True:
            try:
                name, asked = self._pipe.recv()
            except (EOFError, OSError):  # the gateway is gone
                name = END
            if name == END:
                self._inbox.put(None)
                return
            try:
                self._inbox.put(name if asked is None else self._prepared(name, asked))
            except Exception:
                self._inbox.put(None)  # without this thread the process would wait for ever
                raise

    def _prepared(self, name: str, asked: Asked) -> _Prepared | Refused:
        from model.errors import ModelError
        from tasks.serve.asked import PromptRefused

        try:
            return _Prepared(self._held.job(name, asked), self._held.words(asked))
        except PromptRefused as error:
            return Refused(name, error.code, str(error))
        except ModelError as error:
            return Refused(name, "invalid_conversation", str(error))

    def _take(self, out: list[Out]) -> bool:
        """Empty the inbox, waiting for something where nothing is under way. False at the end."""
        while not self._inbox.empty() or (self._held.batch.idle and not out):
            message = self._inbox.get()
            if message is None:
                return False
            if isinstance(message, str):
                self._held.batch.drop(message)
                self._answers.pop(message, None)
            elif isinstance(message, Refused):
                out.append(message)
            else:
                self._answers[message.job.name] = _Answer(message.words, len(message.job.prompt))
                self._held.batch.add(message.job)
        return True

    def _told(self, token: Token) -> tuple[str, Piece] | None:
        """The piece of an answer that a token yields; None if there is nothing to show yet."""
        answer = self._answers[token.name]
        answer.tokens += 1
        text = "" if token.ended else answer.words.take(token.token)
        stopped = answer.words.stopped
        if not (token.last or stopped):
            return (token.name, Piece(text)) if text else None
        del self._answers[token.name]
        if not token.last:
            self._held.batch.drop(token.name)
        finish: Literal["stop", "length"] = "stop" if token.ended or stopped else "length"
        return token.name, Piece(text + answer.words.rest(), finish, answer.prompt_tokens, answer.tokens)
