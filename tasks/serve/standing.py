"""Which model answers now, and its change for another one while requests are under way."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from tasks.serve.asked import Asked, Engine, EngineFailed, Piece

LOGGER = logging.getLogger("llavaflow.serve")
DRAIN_POLL_SECONDS = 0.05


@dataclass
class Standing:
    """A loaded model. `version` is its version in the registry, or what else tells it from others."""

    version: str
    engine: Engine
    under_way: int = 0
    failures: int = 0
    """Engine errors since it was loaded."""


class Post:
    """What requests are sent to: the model that answers, whichever that is when they come.

    A request stays with the model that began to answer it. One that an engine fails before its first words is asked
    again of the model that stands there now.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        """What clients call it."""
        self.now: Standing | None = None
        self.before: Standing | None = None
        """The model before, kept ready for a while."""
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Somebody answers."""
        return self.now is not None and self.now.engine.alive

    async def answer(self, asked: Asked) -> AsyncGenerator[tuple[str, Piece], None]:
        """(version, piece of its answer). Raises EngineFailed where no model can answer, PromptRefused."""
        tried: list[Standing] = []
        while True:
            standing = self._choice(tried)
            tried.append(standing)
            begun = False
            standing.under_way += 1
            try:
                async with aclosing(standing.engine.answer(asked)) as pieces:
                    async for piece in pieces:
                        begun = True
                        yield standing.version, piece
                return
            except EngineFailed:
                standing.failures += 1
                if begun:
                    raise
            finally:
                standing.under_way -= 1

    def put(self, standing: Standing) -> None:
        """From now on this one answers; the one before is kept."""
        self.before, self.now = self.now, standing

    def go_back(self) -> Standing | None:
        """The one before answers again; returns the one that did until now."""
        failed, self.now, self.before = self.now, self.before, None
        return failed

    def retire(self, standing: Standing, seconds: float) -> None:
        """End a model once no request is under way on it, or after so many seconds."""
        task = asyncio.create_task(_close(standing, seconds), name=f"retire-{standing.version}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """End all models."""
        for task in list(self._closing):
            await task
        for standing in (self.now, self.before):
            if standing is not None:
                await standing.engine.close()
        self.now = self.before = None

    def _choice(self, tried: list[Standing]) -> Standing:
        """The model that answers; the one before while the present one is out of order."""
        for standing in (self.now, self.before):
            if standing is not None and standing.engine.alive and standing not in tried:
                return standing
        raise EngineFailed("no model is ready")


async def _close(standing: Standing, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while standing.under_way and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(DRAIN_POLL_SECONDS)
    if standing.under_way:
        LOGGER.warning("%d requests on version %s were ended: it was replaced", standing.under_way, standing.version)
    await standing.engine.close()
