"""Sharding against plain `tarfile` writing the same members, and `llavaflow verify` over the result.

    python -m tests.benchmarks.shard [--images N] [--folder DIR] [--rounds R]
    python -m tests.benchmarks.shard --memory N

Both read the same image set; the plain writer computes no digest, keeps no order and writes one tar after the other.
Rounds are interleaved; figures are medians. With --memory it shards N tiny images, each with a caption and a
conversation, and tells the peak of the memory. Prints markdown rows.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import multiprocessing
import os
import random
import resource
import shutil
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from configs.schema import ShardConfig
from model.records import AnnotatedImage
from tasks.artifacts import MadeBy, ShardSet
from tasks.ingest.parts import PartWriter
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.shards import ShardReader, read_index
from tasks.storage import make_manifest
from tasks.verification import verify
from tests.fakes.image_sets import Made, write_image_set
from tests.unit.tasks.shard.sets import conversation, conversation_set

IMAGE_BYTES = 160_000
"""What a photo of COCO takes, on average."""
SHARD_BYTES = 64_000_000


def main() -> None:
    """Measure, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--memory", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        if asked.memory:
            _say(_memory(folder, asked.memory))
            return
        images, conversations = _input(folder, asked.images)
        _say(*_against_tarfile(folder, images, conversations, asked.rounds))


def _say(*rows: str) -> None:
    for row in rows:
        sys.stdout.write(row + "\n")


def _input(folder: Path, number: int) -> tuple[Path, Path]:
    drawn = random.Random(0)
    ids = [f"image-{index:06d}" for index in range(number)]
    made = (Made(name, drawn.randbytes(drawn.randrange(IMAGE_BYTES * 2)), (f"what {name} shows",)) for name in ids)
    (folder / "images").mkdir()
    write_image_set(folder / "images", made)
    return folder / "images", conversation_set(folder / "talks", [conversation(f"{name}-talk", name) for name in ids])


def _memory(folder: Path, number: int) -> str:
    # In a process of its own, as its memory is not what is measured.
    making = multiprocessing.get_context("spawn").Process(target=_tiny_input, args=(folder, number))
    making.start()
    making.join()
    before, started = _peak(), time.perf_counter()
    (folder / "out").mkdir()
    config = ShardConfig(writers=1)
    built = build_shards(folder / "out", folder / "images", folder / "talks", config, 0, Silent())
    seconds, samples = time.perf_counter() - started, 2 * number
    what = f"shard, {samples:,} samples of tiny images, {built.counts['shards_written']} shards"
    return f"| {what} | peak {_peak():.0f} MB, {before:.0f} MB before; {samples / seconds:,.0f} samples a second |"


def _tiny_input(folder: Path, number: int) -> None:
    (folder / "images").mkdir()
    (folder / "talks").mkdir()
    talk = conversation("talk", "image")
    with (
        PartWriter(folder / "images") as parts,
        (folder / "images" / "annotations.jsonl").open("w") as images,
        (folder / "talks" / "conversations.jsonl").open("w") as talks,
    ):
        for index in range(number):
            name = f"image-{index:07d}"
            data = name.encode() * 8
            part, span = parts.add(f"{name}.jpg", data)
            image = AnnotatedImage(
                id=name, part=part, span=span, format="jpg", width=1, height=1,
                sha256=hashlib.sha256(data).hexdigest(), captions=(f"what {name} shows",),
            )
            images.write(image.model_dump_json() + "\n")
            talks.write(talk.model_copy(update={"id": f"{name}-talk", "image": name}).line() + "\n")


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _against_tarfile(folder: Path, images: Path, conversations: Path, rounds: int) -> list[str]:
    def ours(writers: int) -> Callable[[Path], None]:
        config = ShardConfig(max_bytes=SHARD_BYTES, writers=writers)
        return lambda target: _discard(build_shards(target, images, conversations, config, 0, Silent()))

    first, cores = folder / "first", os.cpu_count() or 1
    first.mkdir()
    ours(cores)(first)
    _manifest(first)
    size = sum(path.stat().st_size for path in first.rglob("*.tar")) / 1e6
    runs: dict[str, Callable[[Path], None]] = {
        "tarfile": lambda target: _plain(first, target),
        "shard, 1 writer": ours(1),
        f"shard, {cores} writers": ours(cores),
        "verify": lambda _: _verify(first),
    }
    spent: dict[str, list[Spent]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            spent[name].append(_measured(run, folder / "out"))
    base = statistics.median(one.wall for one in spent["tarfile"])
    return [f"| {name} | {_row(found, size, base)} |" for name, found in spent.items()]


class Spent(NamedTuple):
    """Seconds of a run: by the clock until all is on the disk, and of processors."""

    wall: float
    cpu: float


def _row(found: list[Spent], size: float, base: float) -> str:
    wall, cpu = statistics.median(one.wall for one in found), statistics.median(one.cpu for one in found)
    every = ", ".join(f"{size / one.wall:.0f}" for one in found)
    return (
        f"{size / wall:.0f} MB/s, {base / wall:.0%} of tarfile (rounds: {every}); "
        f"{size / cpu:.0f} MB a second of processor time"
    )


def _measured(run: Callable[[Path], None], target: Path) -> Spent:
    target.mkdir()
    os.sync()
    gc.collect()
    before, started = os.times(), time.perf_counter()
    run(target)
    os.sync()
    wall, after = time.perf_counter() - started, os.times()
    shutil.rmtree(target)
    return Spent(wall, sum(after[:4]) - sum(before[:4]))


def _discard(_: object) -> None:
    """What a run returns is of no interest here."""


def _plain(shards: Path, target: Path) -> None:
    """The same members, in the same tars, by tarfile: read at random as ours are."""
    with_spans = [
        (stage, reader)
        for stage in ("align", "instruct", "held_out_align", "held_out_instruct")
        if (reader := ShardReader(shards, stage))
    ]
    for stage, reader in with_spans:
        tars: dict[str, tarfile.TarFile] = {}
        for number, entry in enumerate(read_index(shards, stage)):
            if entry.shard not in tars:
                for tar in tars.values():
                    tar.close()
                tars = {entry.shard: tarfile.open(target / f"{stage}-{Path(entry.shard).name}", "w")}  # noqa: SIM115
            record = reader._read(entry.shard, entry.record)
            for extension, data in (("jpg", reader.image_bytes(number)), ("json", record)):
                if data is not None:
                    header = tarfile.TarInfo(f"{entry.key}.{extension}")
                    header.size = len(data)
                    tars[entry.shard].addfile(header, BytesIO(data))
        for tar in tars.values():
            tar.close()
        reader.close()


def _manifest(shards: Path) -> None:
    made_by = MadeBy(stage="shard", code="", config="")
    manifest = make_manifest(shards, ShardSet.kind, "key", {}, {}, {}, {}, made_by)
    (shards / "manifest.json").write_text(manifest.model_dump_json())


def _verify(shards: Path) -> None:
    found = verify(str(shards))
    assert not found.faults, found.faults


if __name__ == "__main__":
    main()
