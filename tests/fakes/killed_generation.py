"""Generation that is killed, again and again, against an endpoint with faults, and what must hold all the same.

The teacher's answer is a function of the messages alone, and no two requests have the same answer, so the text of an
answer tells which request it was for: how often the endpoint gave it is held against what the ledger says.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from configs.schema import BatchConfig, GenerateConfig, OpenAIEndpoint
from model.records import AnnotatedImage
from tasks.artifacts import digest_of
from tasks.batches.asking import BatchAsker
from tasks.batches.desk import Desk
from tasks.chat.batch import BatchClient
from tasks.chat.client import make_client
from tasks.generate.run import build_conversations
from tasks.ledger.batches import BatchRows
from tasks.ledger.ledger import Ledger, LedgerAsker
from tasks.progress import Silent
from tasks.world.captions import captions
from tasks.world.scene import make_scene
from tasks.world.testsets import boxes_of
from tests.fakes.openai_server import FakeServer, Fault, Messages, drop, fine, half, status

WORDS = (
    "amber", "anchor", "apple", "arrow", "badge", "barrel", "basket", "beacon", "bell", "bridge", "candle",
    "canvas", "carpet", "cedar", "chain", "cliff", "cloud", "coast", "copper", "coral", "crane", "crown",
    "desert", "drum", "eagle", "ember", "engine", "falcon", "feather", "fern", "field", "flame", "forest",
    "garden", "glass", "grove", "hammer", "harbour", "island", "ivory", "jacket", "kettle", "lantern", "lemon",
    "maple", "marble", "meadow", "mirror", "needle", "ocean", "orchard", "paper", "pearl", "pepper", "pillar",
    "quarry", "raven", "ribbon", "river", "saddle", "silver", "timber", "tunnel", "valley", "velvet", "willow",
    "winter",
)  # fmt: skip
NONSENSE_SHARE = 0.4
"""Replies that do not parse, so that requests are asked again with the reason."""
IMAGES = 60


def teacher(messages: Messages) -> str:
    """A reply that is a function of the messages: sometimes nonsense, and never the same to two requests."""
    digest = hashlib.sha256("\n".join(message["content"] for message in messages).encode()).hexdigest()
    chance = random.Random(digest)
    said = f"It stands by the {' '.join(chance.choices(WORDS, k=14))}."
    if chance.random() < NONSENSE_SHARE:
        return f"=== Answer: {said} Question:"
    if "in detail" in messages[0]["content"]:
        return said
    return f"Question:\nWhere is the {chance.choice(WORDS)}?\n===\nAnswer:\n{said}"


class FaultyTeacher(FakeServer):
    """A server that goes wrong at random, by a seed, and counts the replies that it gave whole."""

    def __init__(self, seed: int | None, latency: float) -> None:
        super().__init__(teacher, latency=latency)
        self.whole: Counter[str] = Counter()
        self.went_wrong: Counter[str] = Counter()
        self._chance = None if seed is None else random.Random(seed)

    def take(self, request: dict[str, Any], key: str, connection: tuple[str, int]) -> Fault:
        """As a server with a list of faults, whose list is drawn."""
        super().take(request, key, connection)
        fault = self._drawn()
        if fault.kind == "none":
            self.whole[teacher(request["messages"])] += 1
        else:
            self.went_wrong[str(fault.code) if fault.kind == "status" else fault.kind] += 1
        return fault

    def _drawn(self) -> Fault:
        kinds = [fine(), status(429, retry_after="0"), status(429), status(500), drop(), half()]
        return kinds[0] if self._chance is None else self._chance.choices(kinds, [85, 5, 1, 3, 3, 3])[0]


def write_images(folder: Path) -> Path:
    """An image set without its pictures, which generation does not look at."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "annotations.jsonl").open("w", encoding="utf-8") as lines:
        for number in range(IMAGES):
            scene = make_scene(1, "train", number, "training")
            image = AnnotatedImage(
                id=scene.id, part="images/part-00000.tar", span=(0, 0), format="jpg", width=96, height=96, sha256="",
                captions=captions(scene), boxes=tuple(boxes_of(scene)),
            )
            lines.write(f"{image.model_dump_json()}\n")
    return folder


@dataclass(frozen=True)
class Job:
    """One generation: what a process is started with, and started with again."""

    root: Path
    base_url: str
    samples: int
    concurrency: int = 4
    batch: BatchConfig | None = None

    @property
    def built(self) -> Path:
        """Where its files go."""
        return self.root / "built"

    @property
    def ledger(self) -> Path:
        """Its ledger."""
        return self.root / "ledger.sqlite"

    def files(self) -> dict[str, bytes]:
        """What it made. A ledger key tells endpoints apart, so in origins it is replaced by what was asked there."""
        made = {path.name: path.read_bytes() for path in sorted(self.built.iterdir())}
        origins = made["origins.jsonl"].decode()
        for key, asked in self._asked().items():
            origins = origins.replace(key, asked)
        return made | {"origins.jsonl": origins.encode()}

    def _asked(self) -> dict[str, str]:
        """Ledger key to digest of the messages and the attempt, whatever the endpoint."""
        with closing(sqlite3.connect(self.ledger)) as database:
            prefixes = dict(database.execute("select digest, messages from prefixes"))
            requests = [(key, json.loads(text)) for key, text in database.execute("select key, request from requests")]
        return {
            key: digest_of([json.loads(prefixes[told["prefix"]]) + told["rest"], told["attempt"]])
            for key, told in requests
        }


def generate(job: Job) -> None:
    """Run the job in this process, as the stage does. Files appear whole or not at all, as a stage's artifact does."""
    endpoint = OpenAIEndpoint(
        kind="openai", base_url=job.base_url, model="fake", concurrency=job.concurrency, max_retries=40,
        timeout_seconds=20.0, batch=job.batch,
    )
    config = GenerateConfig(teacher=endpoint, samples=job.samples, max_rejected_share=1.0)
    scratch = job.root / f"scratch-{time.monotonic_ns()}"
    scratch.mkdir(parents=True)
    with _asking(job, endpoint) as asker:
        build_conversations(scratch, job.root / "images", config, 0, asker, Silent())
    scratch.rename(job.built)


@contextmanager
def _asking(job: Job, endpoint: OpenAIEndpoint) -> Iterator[LedgerAsker]:
    url = f"sqlite:///{job.ledger}"
    with closing(Ledger(url)) as ledger, closing(make_client(endpoint, "key", "teacher")) as client:
        if endpoint.batch is None:
            yield LedgerAsker(ledger, client, "teacher")
            return
        with closing(BatchRows(url)) as rows, closing(BatchClient(endpoint, "key")) as provider:
            # A killed worker's call is carried out by the fake at once or never: no need to look for it for long.
            desk = Desk(client, provider, rows, "teacher", endpoint.batch, Silent(), orphan_seconds=1.0)
            yield BatchAsker(desk, ledger)


@dataclass
class Story:
    """What happened to a job that was killed."""

    kills: int = 0
    in_flight: set[tuple[str, int]] = field(default_factory=set)
    """(key, times sent) of what the ledger showed as sent and not answered after a kill."""
    seconds: float = 0.0


def kill_again_and_again(job: Job, kills: int, longest: float, seed: int) -> Story:
    """Start the job, kill it after a random time of at most `longest` seconds, so many times, then let it finish.

    Raises AssertionError if it is done before it was killed as often.
    """
    story, chance, started = Story(), random.Random(seed), time.monotonic()
    context = _context()
    while story.kills < kills:
        process = _start(context, job)
        process.join(chance.uniform(0.0, longest))
        if process.exitcode is not None:
            assert process.exitcode == 0, f"generation failed with status {process.exitcode}"
            raise AssertionError(f"it was done after {story.kills} kills: make it longer")
        process.kill()
        process.join()
        story.kills += 1
        story.in_flight.update(sent_and_open(job))
    process = _start(context, job)
    process.join()
    assert process.exitcode == 0, f"generation failed with status {process.exitcode}"
    story.seconds = time.monotonic() - started
    return story


def finish(job: Job) -> None:
    """Run the job undisturbed, in a process of its own."""
    process = _start(_context(), job)
    process.join()
    assert process.exitcode == 0, f"generation failed with status {process.exitcode}"


def sent_and_open(job: Job) -> list[tuple[str, int]]:
    """(key, times sent) of what was sent and has no outcome, as the ledger shows it."""
    if not job.ledger.exists():
        return []
    with closing(Ledger(f"sqlite:///{job.ledger}")) as ledger:
        return [(request.key, request.sends) for request in ledger.open_requests()]


def rows(job: Job) -> list[tuple[str, str, str, int]]:
    """(key, state, reply, sends) of all requests."""
    with closing(sqlite3.connect(job.ledger)) as database:
        return database.execute("select key, state, reply, sends from requests order by key").fetchall()


def faults_of(job: Job, story: Story, whole: Counter[str]) -> list[str]:
    """What the ledger, the kills and the endpoint's own count disagree about; nothing, if all is well."""
    found = []
    killed = Counter(key for key, _ in story.in_flight)
    for key, state, reply, sends in rows(job):
        if state != "answered":
            found.append(f"{key} is {state}")
        elif sends - 1 != killed[key]:
            found.append(f"{key}: sent {sends} times, in flight at {killed[key]} kills")
        elif not 1 <= whole[reply] <= sends:
            found.append(f"{key}: sent {sends} times, answered {whole[reply]} times")
    if unknown := set(whole) - {reply for _, _, reply, _ in rows(job)}:
        found.append(f"{len(unknown)} answers were given that the ledger does not have")
    return found


def _context() -> ForkServerContext:
    """Processes that start in milliseconds, so that they are killed at their work, not at their imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fakes.killed_generation", "tasks.chat.openai"])
    return context


def _start(context: ForkServerContext, job: Job) -> ForkServerProcess:
    work: Callable[[Job], None] = generate
    process = context.Process(target=work, args=(job,))
    process.start()
    return process
