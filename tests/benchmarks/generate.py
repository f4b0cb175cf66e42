"""What asking costs: requests a second through client and ledger, CPU and memory of it, and reruns of finished keys.

    python -m tests.benchmarks.generate speed --requests 10000
    python -m tests.benchmarks.generate speed --requests 5000 --refuse 0.05 --drop 0.02
    python -m tests.benchmarks.generate plain --requests 5000
    python -m tests.benchmarks.generate rerun --requests 100000

The endpoint is `tests/fakes/openai_process.py`, a process of its own, so the CPU told is that of client and ledger (the
real `openai` package, a new SQLite file). Each prints rows of markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import aiohttp

from configs.schema import OpenAIEndpoint
from tasks.chat.client import ScriptedClient, make_client
from tasks.chat.records import Message
from tasks.ledger.ledger import Ledger, LedgerAsker, Request
from tests.fakes.openai_process import answer, server_process

WORDS = "a man in a blue coat rides a brown horse along the beach while a dog runs behind "
HEAD = tuple(
    Message("system" if place == 0 else "user" if place % 2 else "assistant", WORDS * 8) for place in range(5)
)
"""A system message and two examples, as long as those of the default prompts."""


@dataclass(frozen=True)
class Used:
    """What this process has used up."""

    seconds: float
    cpu: float
    mebibytes: float

    @classmethod
    def now(cls) -> Used:
        """So far; memory is the most that was resident."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.monotonic(), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def requests(number: int) -> Iterator[Request]:
    """Requests as of stage generate: a long beginning that all share, then the captions of an image."""
    for place in range(number):
        yield Request((*HEAD, Message("user", f"{place}: {WORDS * 4}")))


def speed(given: argparse.Namespace) -> None:
    """Ask for all and compare with the ideal: requests under way, divided by the latency."""
    arguments = [f"--{name}={getattr(given, name)}" for name in ("latency", "refuse", "drop", "seed")]
    with tempfile.TemporaryDirectory() as folder, server_process(*arguments) as base_url:
        endpoint = OpenAIEndpoint(
            kind="openai", base_url=base_url, model="fake", concurrency=given.concurrency, max_tokens=256,
            max_retries=8,
        )
        with closing(Ledger(f"sqlite:///{folder}/ledger.db")) as ledger:
            with closing(make_client(endpoint, None, "teacher")) as client:
                asker = LedgerAsker(ledger, client, "teacher")
                before = Used.now()
                positions = [position for position, found in asker.ask(requests(given.requests)) if found.reply]
                after = Used.now()
            rows = sum(row[3] for row in ledger.totals() if row[2] == "answered")
            left = len(ledger.open_requests())
        with urlopen(base_url.replace("/v1", "/stats")) as told:
            stats = json.load(told)
    assert len(set(positions)) == len(positions) == rows == given.requests and left == 0
    seconds = after.seconds - before.seconds
    ideal = given.concurrency / given.latency
    rate = given.requests / seconds
    _row(
        f"{given.requests} requests at {given.latency:g} s, {given.concurrency} at once, {given.refuse:.0%} refused, "
        f"{given.drop:.0%} dropped",
        f"{rate:.1f}/s, {rate / ideal:.0%} of {ideal:g}/s",
        f"{(after.cpu - before.cpu) / seconds:.2f} cores",
        f"{after.mebibytes:.0f} MiB",
        f"all {rows} keys answered once, {stats['asked']} sent over {stats['connections']} connections",
    )


def plain(given: argparse.Namespace) -> None:
    """The same requests by a bare HTTP client, without retries and ledger: what machine and endpoint allow just now."""
    with server_process(f"--latency={given.latency}") as base_url:
        before = Used.now()
        asyncio.run(_post_all(f"{base_url}/chat/completions", given))
        after = Used.now()
    seconds = after.seconds - before.seconds
    rate, ideal = given.requests / seconds, given.concurrency / given.latency
    _row(
        f"{given.requests} requests at {given.latency:g} s, {given.concurrency} at once, bare HTTP client",
        f"{rate:.1f}/s, {rate / ideal:.0%} of {ideal:g}/s", f"{(after.cpu - before.cpu) / seconds:.2f} cores", "", "",
    )


async def _post_all(url: str, given: argparse.Namespace) -> None:
    source = requests(given.requests)
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for request in source:
                body = {"model": "fake", "messages": [message.json() for message in request.messages]}
                async with session.post(url, json=body) as response:
                    assert (await response.json())["choices"]

        await asyncio.gather(*(work() for _ in range(given.concurrency)))


def rerun(given: argparse.Namespace) -> None:
    """Ask for what the ledger has."""
    client = ScriptedClient("teacher", lambda messages: answer([message.json() for message in messages]))  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        for what in ("first run", "rerun"):
            with closing(Ledger(f"sqlite:///{folder}/ledger.db")) as ledger:
                before = Used.now()
                asker = LedgerAsker(ledger, client, "teacher")
                assert sum(1 for _ in asker.ask(requests(given.requests))) == given.requests
                after = Used.now()
            _row(
                f"{given.requests} free requests, {what}", f"{after.seconds - before.seconds:.1f} s",
                f"{after.cpu - before.cpu:.1f} s of CPU", f"{after.mebibytes:.0f} MiB",
                f"{asker.tally.from_ledger} from the ledger",
            )
        _row("size of the ledger", f"{sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6:.0f} MB")


def _row(*cells: str) -> None:
    sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.flush()


def main() -> None:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("speed", "plain", "rerun"))
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.5)
    parser.add_argument("--refuse", type=float, default=0.0)
    parser.add_argument("--drop", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    {"speed": speed, "plain": plain, "rerun": rerun}[given.what](given)


if __name__ == "__main__":
    main()
