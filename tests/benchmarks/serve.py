"""Throughput and latency of the endpoint beside `transformers serve`, and changes of the model under load.

    python -m tests.benchmarks.serve FOLDER [--requests 32] [--streams 1,4,16] [--only ours,plain,continuous]
    python -m tests.benchmarks.serve FOLDER --switch 1000

FOLDER is a Hugging Face LLaVA folder. Servers run one after another, each warmed up, one thread each; each request
shows an image of its own and asks for a description, greedily, streamed. Prints a markdown row a server and load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from PIL import Image

from configs.serve import ServeConfig
from tasks.serve.app import Parts
from tasks.serve.engines import opener
from tasks.serve.following import Canary
from tasks.serve.keys import Keys
from tests.fakes.serving import data_uri, encoded, serving

TOKENS = 64
WORDS = "Describe the image in detail."
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple")
PATIENCE = 180.0


@dataclass(frozen=True)
class Timed:
    """A request: seconds to its first words and to its last, its pieces; `failed` says what went wrong."""

    first: float
    whole: float
    letters: int
    failed: str = ""


def picture(number: int) -> str:
    """An image of one object, another for each number."""
    image = Image.new("RGB", (128, 128), "white")
    image.paste(COLOURS[number % len(COLOURS)], (8 + 7 * (number % 8), 20 + 5 * (number % 11), 48 + number % 60, 90))
    return data_uri(encoded(image))


async def ask(client: httpx.AsyncClient, base: str, model: str, number: int) -> Timed:
    """One streamed request."""
    content = [{"type": "image_url", "image_url": {"url": picture(number)}}, {"type": "text", "text": WORDS}]
    body = {
        "model": model, "messages": [{"role": "user", "content": content}], "stream": True, "max_tokens": TOKENS,
        "temperature": 0,
    }  # fmt: skip
    begun, first, letters, ended = time.perf_counter(), 0.0, 0, False
    try:
        async with client.stream("POST", f"{base}/v1/chat/completions", json=body) as answer:
            if answer.status_code != httpx.codes.OK:
                return Timed(0, 0, 0, f"{answer.status_code}")
            async for line in answer.aiter_lines():
                words, finish = read(line)
                ended = ended or finish
                if words and not letters:
                    first = time.perf_counter() - begun
                letters += len(words)
    except httpx.HTTPError as error:
        return Timed(0, 0, 0, type(error).__name__)
    return Timed(first, time.perf_counter() - begun, letters, "" if ended else "no end")


def read(line: str) -> tuple[str, bool]:
    """(words, whether the answer has ended) of a line of events."""
    if not line.startswith("data: ") or line == "data: [DONE]":
        return "", False
    choices = json.loads(line[6:]).get("choices") or [{}]
    return choices[0].get("delta", {}).get("content") or "", choices[0].get("finish_reason") is not None


async def load(base: str, model: str, streams: int, requests: int) -> tuple[float, list[Timed]]:
    """So many requests by so many clients; seconds, and each request."""
    numbers, timed = iter(range(requests)), list[Timed]()
    async with httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_connections=streams)) as client:

        async def one() -> None:
            for number in numbers:
                timed.append(await ask(client, base, model, number))

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(streams)))
        return time.perf_counter() - begun, timed


def row(name: str, streams: int, seconds: float, timed: Sequence[Timed]) -> str:
    """A markdown row."""
    good = [one for one in timed if not one.failed]
    first, whole = sorted(one.first for one in good), sorted(one.whole for one in good)
    letters = sum(one.letters for one in good)

    def at(times: Sequence[float], share: float) -> str:
        return f"{1000 * times[min(len(times) - 1, int(share * len(times)))]:.0f}" if times else "-"

    return (
        f"| {name} | {streams} | {len(good) / seconds:.1f} | {letters / seconds:.0f} | {at(first, 0.5)} /"
        f" {at(first, 0.95)} | {at(whole, 0.5)} / {at(whole, 0.95)} | {len(timed) - len(good)} of {len(timed)} |"
    )


@contextmanager
def server(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """(address, what it calls the model) of a server that runs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    programs = Path(sys.executable).parent
    theirs = [str(programs / "transformers"), "serve", str(folder), "--device", "cpu", "--host", "127.0.0.1"]
    ours = [sys.executable, "-m", "flows.cli", "serve", str(folder), "--set", "engine=batched"]
    command, path, model = {
        "ours": (ours, "readyz", "llavaflow"),
        "plain": (theirs, "health", str(folder)),
        "continuous": ([*theirs, "--continuous-batching"], "health", str(folder)),
    }[name]
    with tempfile.TemporaryDirectory() as scratch, Path(scratch, "log").open("wb") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LLAVAFLOW_ROOT": scratch}
        process = subprocess.Popen([*command, "--port", str(port)], stdout=log, stderr=log, env=environment)
        try:
            wait_for(process, f"http://127.0.0.1:{port}/{path}")
            yield f"http://127.0.0.1:{port}", model
        finally:
            process.terminate()
            process.wait(30)


def wait_for(process: subprocess.Popen[bytes], address: str) -> None:
    """Until a server is ready."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address, timeout=5).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise SystemExit(f"the server at {address} did not come up")


class Swinging:
    """A source whose alias is moved by hand; every version is the same folder."""

    def __init__(self, folder: Path) -> None:
        self.version, self._folder = 1, folder

    def pointed(self) -> str | None:
        """See `tasks.serve.following.Source`."""
        return str(self.version)

    def folder(self, version: str) -> Path:
        """See `tasks.serve.following.Source`."""
        return self._folder

    def canary(self, version: str) -> Canary:
        """See `tasks.serve.following.Source`."""
        return Canary()


async def switching(folder: Path, requests: int) -> str:
    """Requests by eight clients, while the model changes as soon as it has changed."""
    source = Swinging(folder)
    config = ServeConfig.model_validate(
        {"engine": "batched", "following": {"poll_seconds": 0.2, "probation_seconds": 0}}
    )
    made = Parts("llavaflow", config, source, opener(config), Keys(()), lambda event, payload: None)
    with serving(made, ready=False) as endpoint:
        champion = endpoint.gateway.champion
        while not champion.ready:
            await asyncio.sleep(0.1)
        loading = asyncio.create_task(load(endpoint.base, "llavaflow", 8, requests))
        while not loading.done():
            if champion.now is not None and champion.now.version == source.pointed():
                source.version += 1
            await asyncio.sleep(0.2)
        seconds, timed = await loading
        changes = int(endpoint.figure("llavaflow_switches_total", outcome="switched")) - 1
    failed = [one.failed for one in timed if one.failed]
    return (
        f"| {len(timed):,} requests, 8 streams, {changes} changes of the model meanwhile | {len(failed)} failed"
        f" {sorted(set(failed)) if failed else ''} | {len(timed) / seconds:.1f} requests a second |"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--streams", default="1,4,16")
    parser.add_argument("--only", default="plain,continuous,ours")
    parser.add_argument("--switch", type=int, default=0)
    options = parser.parse_args()
    folder = options.folder.absolute()
    if options.switch:
        sys.stdout.write(asyncio.run(switching(folder, options.switch)) + "\n")
        return
    sys.stdout.write("| server | streams | requests/s | letters/s | first words, ms (p50 / p95) | whole | failed |\n")
    for name in options.only.split(","):
        with server(name, folder) as (base, model):
            asyncio.run(load(base, model, 2, 4))
            for streams in map(int, options.streams.split(",")):
                seconds, timed = asyncio.run(load(base, model, streams, options.requests))
                sys.stdout.write(row(name, streams, seconds, timed) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
