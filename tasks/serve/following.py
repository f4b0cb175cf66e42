"""Following an alias: a new model is loaded beside the old one, asked its canary questions, put in place, watched.

Nothing here changes what the registry says. A version that fails is not tried again until the alias has moved.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from configs.serve import Following, Limits
from tasks.errors import LlavaflowError
from tasks.serve.asked import Asked, Engine, EngineFailed, Picture, PromptRefused, Said
from tasks.serve.failures import Refusal
from tasks.serve.figures import Figures
from tasks.serve.pictures import read_unnamed
from tasks.serve.standing import Post, Standing

LOGGER = logging.getLogger("llavaflow.serve")
SWITCHED = "llavaflow.serve.switched"
REFUSED = "llavaflow.serve.refused"
TAKEN_BACK = "llavaflow.serve.taken_back"
RESTARTED = "llavaflow.serve.restarted"


@dataclass(frozen=True)
class Probe:
    """A canary question: an image file or none, the words, and the answer that was given at registration."""

    image: bytes
    prompt: str
    answer: str


@dataclass(frozen=True)
class Canary:
    """What a version has to answer before it is let near anybody."""

    probes: tuple[Probe, ...] = ()
    tokens: int = 16
    share: float = 1.0
    """Share of the questions that has to be answered as at registration."""


class Source(Protocol):
    """Where models come from: the registry, or a folder."""

    def pointed(self) -> str | None:
        """The version that is to answer; None for none. Raises LlavaflowError."""

    def folder(self, version: str) -> Path:
        """Its Hugging Face folder. Raises LlavaflowError."""

    def canary(self, version: str) -> Canary:
        """Its canary questions. Raises LlavaflowError."""


Open = Callable[[Path], Awaitable[Engine]]
Tell = Callable[[str, Mapping[str, str]], None]


class Follower:
    """Keeps a post filled with the version that a source points to."""

    def __init__(
        self, post: Post, source: Source, opener: Open, config: Following, limits: Limits, figures: Figures, tell: Tell
    ) -> None:
        self._post, self._source, self._open, self._config = post, source, opener, config
        self._limits, self._figures, self._tell = limits, figures, tell
        self._refused: str | None = None
        self._since = 0.0
        """When the model that answers was put in place."""

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._config.poll_seconds)

    async def look(self) -> None:
        """Once: watch the model that answers, then see whether another one is wanted."""
        await self._watch()
        try:
            wanted = await asyncio.to_thread(self._source.pointed)
        except LlavaflowError as error:
            self._figures.registry_failures.inc()
            LOGGER.warning("the registry did not say which model is to answer: %s", error)
            return
        if wanted != self._refused:
            self._refused = None
        now = self._post.now
        if wanted is not None and wanted != self._refused and (now is None or now.version != wanted):
            await self._change(wanted)

    async def _change(self, version: str) -> None:
        try:
            standing = await self._opened(version)
            try:
                await self._check(standing)
            except BaseException:
                await standing.engine.close()
                raise
        except (LlavaflowError, EngineFailed, PromptRefused, Refusal) as error:
            self._refused = version
            self._say("refused", REFUSED, version, f"{error}")
            return
        if self._post.before is not None:
            self._post.retire(self._post.before, self._config.drain_seconds)
        self._post.put(standing)
        self._since = asyncio.get_running_loop().time()
        self._figures.answers_with(version)
        self._say("switched", SWITCHED, version, "it answers now")

    async def _opened(self, version: str) -> Standing:
        folder = await asyncio.to_thread(self._source.folder, version)
        return Standing(version, await self._open(folder))

    async def _check(self, standing: Standing) -> None:
        """Ask the canary questions. Raises CanaryFailed, EngineFailed, PromptRefused, RegistryError."""
        canary = await asyncio.to_thread(self._source.canary, standing.version)
        wrong = [probe for probe in canary.probes if await self._said(standing, probe, canary.tokens) != probe.answer]
        if canary.probes and 1 - len(wrong) / len(canary.probes) < canary.share:
            raise CanaryFailed(f"{len(wrong)} of {len(canary.probes)} canary answers differ")

    async def _said(self, standing: Standing, probe: Probe, tokens: int) -> str:
        pictures: tuple[Picture, ...] = ()
        if probe.image:
            pictures = (await asyncio.to_thread(read_unnamed, probe.image, self._limits),)
        asked = Asked((Said("user", probe.prompt, pictures),), tokens)
        async with asyncio.timeout(self._config.start_seconds), aclosing(standing.engine.answer(asked)) as pieces:
            return "".join([piece.text async for piece in pieces]).strip()

    async def _watch(self) -> None:
        """A new model that fails is taken back; after its probation, the one before is let go."""
        now, before = self._post.now, self._post.before
        if now is None:
            return
        failing = not now.engine.alive or now.failures >= self._config.probation_failures
        if before is not None and failing and before.engine.alive:
            self._refused = now.version
            self._post.go_back()
            self._post.retire(now, 0.0 if not now.engine.alive else self._config.drain_seconds)
            self._figures.answers_with(before.version)
            self._say("taken_back", TAKEN_BACK, now.version, f"version {before.version} answers again")
        elif before is not None and self._proven():
            self._post.before = None
            self._post.retire(before, self._config.drain_seconds)
        elif not now.engine.alive:
            await self._restart(now)

    def _proven(self) -> bool:
        return asyncio.get_running_loop().time() - self._since >= self._config.probation_seconds

    async def _restart(self, dead: Standing) -> None:
        """The engine of the only model has ended: load it anew. It has passed its canary before."""
        try:
            standing = await self._opened(dead.version)
        except LlavaflowError as error:
            LOGGER.error("version %s cannot be loaded again: %s", dead.version, error)
            return
        self._post.now = standing
        self._post.retire(dead, 0.0)
        self._say("restarted", RESTARTED, dead.version, "its engine had ended")

    def _say(self, outcome: str, event: str, version: str, why: str) -> None:
        self._figures.switches.labels(outcome).inc()
        LOGGER.log(logging.INFO if outcome == "switched" else logging.ERROR, "version %s %s: %s", version, outcome, why)
        told = {"model": self._post.name, "version": version, "reason": why}
        asyncio.get_running_loop().run_in_executor(None, self._tell, event, told)


class CanaryFailed(LlavaflowError):
    """A model does not answer as it did when it was registered."""
