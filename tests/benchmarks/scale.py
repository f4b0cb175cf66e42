"""Pieces that grow with the data, at sizes that fit here: `python -m tests.benchmarks.scale [PIECE...]`.

Each measures time and memory at growing sizes, in a process of its own, so that docs/scale.md can say what 100 million
samples cost.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

SIZES = {
    "order": (1_000_000, 10_000_000, 100_000_000),
    "index": (100_000, 1_000_000, 10_000_000),
    "ledger": (100_000, 1_000_000, 10_000_000),
    "listing": (1_000, 10_000),
}
ROWS_AT_ONCE = 10_000


def order(size: int) -> str:
    """The samples of a first and a last step of an epoch."""
    from model.order import StepOrder

    started = time.perf_counter()
    steps = StepOrder(0, size, 256)
    steps.step(0)
    first = time.perf_counter() - started
    started = time.perf_counter()
    for step in range(1000):
        steps.step(step)
    return f"first step {first:.1f} s, each further {(time.perf_counter() - started):.2f} ms"


def index(size: int) -> str:
    """Open a stage's index and read entries of it at random."""
    import random

    from tasks.shards import IndexEntry, ShardReader, index_file

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = index_file(folder, "align")
        path.parent.mkdir()
        member = (1536, 160_000, "0" * 64)
        with path.open("w", encoding="utf-8") as handle:
            for at in range(size):
                shard = f"align/shard-{at >> 10:06d}.tar"
                entry = IndexEntry(key=f"{at:032x}", shard=shard, record=member, image=member)
                handle.write(entry.line() + "\n")
        started = time.perf_counter()
        with ShardReader(folder, "align") as reader:
            opened = time.perf_counter() - started
            started = time.perf_counter()
            for _ in range(10_000):
                reader.entry(random.randrange(size))
            each = (time.perf_counter() - started) / 10_000
        return f"{path.stat().st_size / size:.0f} B a line, opened in {opened:.1f} s, an entry {each * 1e6:.0f} us"


def ledger(size: int) -> str:
    """Fill a ledger with answered requests, then look up which of 10,000 keys are answered."""
    import sqlalchemy as sa

    from tasks.ledger.rows import Rows
    from tasks.ledger.tables import REQUESTS

    reply = "A man rides a bicycle along a street that is lined with trees. " * 8
    with tempfile.TemporaryDirectory() as name:
        url = f"sqlite:///{name}/ledger.db"
        with closing(Rows(url)) as rows:
            started = time.perf_counter()
            engine = sa.create_engine(url)
            for first in range(0, size, ROWS_AT_ONCE):
                with engine.begin() as connection:
                    connection.execute(sa.insert(REQUESTS), [*_answered(range(first, first + ROWS_AT_ONCE), reply)])
            filled = time.perf_counter() - started
            asked = [f"{(at * 7919) % (2 * size):064x}" for at in range(10_000)]
            started = time.perf_counter()
            found = rows.answers(asked)
            looked = time.perf_counter() - started
        held = Path(name, "ledger.db").stat().st_size
    return (
        f"{size / filled:,.0f} rows/s in, {held / size:.0f} B a row on disk, 10,000 keys looked up in {looked:.2f} s "
        f"({len(found):,} there)"
    )


def _answered(numbers: range, reply: str) -> Iterator[dict[str, object]]:
    for at in numbers:
        yield {
            "key": f"{at:064x}", "purpose": "teacher", "model": "teacher", "request": '{"prefix": "0", "rest": []}',
            "state": "answered", "reply": reply, "finish_reason": "stop", "input_tokens": 600, "output_tokens": 150,
            "usd": 0.0, "sends": 1, "created": float(at), "answered": float(at),
        }


def listing(size: int) -> str:
    """List the objects of a prefix of a real S3 server."""
    import s3fs

    from tests.fakes.seaweed import BUCKET, seaweed

    weed = Path(sys.executable).parent / "weed"
    with tempfile.TemporaryDirectory() as name, seaweed(weed, Path(name)) as server:
        filesystem = s3fs.S3FileSystem(**server.options)
        filesystem.pipe({f"{BUCKET}/shards/shard-{at:06d}.tar": b"x" for at in range(size)})
        started = time.perf_counter()
        found = filesystem.find(f"{BUCKET}/shards")
        return f"{len(found):,} objects listed in {time.perf_counter() - started:.2f} s"


PIECES: dict[str, Callable[[int], str]] = {"order": order, "index": index, "ledger": ledger, "listing": listing}


def main() -> None:
    """Print a markdown row for each piece and size; or, with --size, measure one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", nargs="*", default=[*PIECES])
    parser.add_argument("--size", type=int)
    told = parser.parse_args()
    if told.size:
        said = PIECES[told.pieces[0]](told.size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        sys.stdout.write(f"| {told.pieces[0]} | {told.size:,} | {said} | {peak:,.0f} MB |\n")
        return
    sys.stdout.write("| what | size | figures | peak memory of the process |\n|---|---|---|---|\n")
    for piece in told.pieces:
        for size in SIZES[piece]:
            sys.stdout.flush()
            subprocess.run([sys.executable, "-m", "tests.benchmarks.scale", piece, "--size", str(size)], check=True)


if __name__ == "__main__":
    main()
