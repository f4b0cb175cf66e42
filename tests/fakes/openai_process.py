"""The fake endpoint as a process of its own, so that what the client costs can be measured apart from it.

    with server_process("--latency", "0.5", "--drop", "0.02") as base_url: ...

GET /stats tells what it has seen; it ends with its standard input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.fakes.openai_server import Chances, FakeServer, Messages, drop, half, status

SENTENCE = "The picture shows a quiet street with two people who wait beside a red bicycle. "


def answer(messages: Messages) -> str:
    """A detailed description of usual length, a function of the request."""
    return f"{SENTENCE * 8}({messages[-1]['content'][:40]})"


@contextmanager
def server_process(*arguments: str) -> Iterator[str]:
    """Run the server; yields its base_url."""
    command = [sys.executable, "-m", "tests.fakes.openai_process", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def _stats(app: web.Application, server: FakeServer) -> None:
    async def stats(_: web.Request) -> web.Response:
        times = Counter(server.questions())
        return web.json_response({
            "asked": server.asked, "questions": len(times), "most_at_once": server.seen.most_at_once,
            "connections": len(server.seen.connections),
        })

    app.router.add_get("/stats", stats)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    for name in ("latency", "refuse", "drop", "half", "error"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rates = {status(429): given.refuse, drop(): given.drop, half(): given.half, status(500): given.error}
    server = FakeServer(
        answer, latency=given.latency, chances=Chances(rates, given.seed), routes=[_stats], threads=False
    )
    with server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
