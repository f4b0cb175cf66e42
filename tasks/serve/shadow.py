"""A challenger that answers beside the champion: its answers are stored with the champion's, and returned to nobody."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path

from configs.serve import Shadow
from tasks.serve.asked import Asked, EngineFailed, PromptRefused
from tasks.serve.figures import Figures
from tasks.serve.standing import Post

TABLE = """
create table if not exists pairs (
    id text primary key, at real, conversation text, images text,
    champion text, champion_answer text, champion_seconds real,
    challenger text, challenger_answer text, challenger_seconds real
)
"""


@dataclass(frozen=True)
class Answered:
    """What a version answered, and in how many seconds."""

    version: str
    words: str
    seconds: float


class PairStore:
    """A SQLite file of pairs of answers. It holds what people wrote: its folder is for those who may read that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute(TABLE)
        path.chmod(0o600)

    def keep(self, name: str, at: float, asked: Asked, champion: Answered, challenger: Answered) -> None:
        """Store a pair: the conversation with digests for its images, and both answers."""
        said = json.dumps([[one.role, one.words] for one in asked.said], ensure_ascii=False)
        images = json.dumps([picture.digest for one in asked.said for picture in one.pictures])
        both = [part for one in (champion, challenger) for part in (one.version, one.words, one.seconds)]
        with closing(sqlite3.connect(self._path)) as database, database:
            database.execute(
                "insert or replace into pairs values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (name, at, said, images, *both)
            )


class Shadowing:
    """Asks the challenger a share of the requests, after the champion has answered them."""

    def __init__(
        self, post: Post, config: Shadow, store: PairStore, figures: Figures, clock: Callable[[], float] = time.time
    ) -> None:
        self._post, self._config, self._store, self._figures, self._clock = post, config, store, figures, clock
        self._under_way: set[asyncio.Task[None]] = set()

    def offer(self, name: str, asked: Asked, champion: Answered) -> None:
        """A request that the champion has answered. It is in the share or not by its name alone."""
        if not chosen(name, self._config.share):
            return
        if len(self._under_way) >= self._config.waiting or not self._post.ready:
            self._figures.shadowed.labels("left_out").inc()
            return
        task = asyncio.create_task(self._ask(name, asked, champion))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def settled(self) -> None:
        """All pairs under way are stored."""
        if self._under_way:
            await asyncio.gather(*self._under_way)

    async def _ask(self, name: str, asked: Asked, champion: Answered) -> None:
        begun = time.monotonic()
        words, version = "", ""
        try:
            async with aclosing(self._post.answer(asked)) as pieces:
                async for version, piece in pieces:  # noqa: B007 - the last one is wanted
                    words += piece.text
            challenger = Answered(version, words, time.monotonic() - begun)
            await asyncio.to_thread(self._store.keep, name, self._clock(), asked, champion, challenger)
        except (EngineFailed, PromptRefused, sqlite3.Error):
            self._figures.shadowed.labels("failed").inc()
            return
        self._figures.shadowed.labels("stored").inc()


def chosen(name: str, share: float) -> bool:
    """Whether a name is in a share of all names."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) < share * 2**64
