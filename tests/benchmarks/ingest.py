"""Speed and memory of ingest on generated COCO annotations and tiny images in tars: a row of markdown each size.

    python -m tests.benchmarks.ingest                  10,000 and 100,000 images
    python -m tests.benchmarks.ingest --million        1,000,000 besides
    python -m tests.benchmarks.ingest --images 20000   other sizes

Every size runs in processes of its own, as the peak of a process's memory never falls.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from PIL import Image

from configs.schema import CocoSource, DataConfig
from tasks.ingest.parts import PartWriter
from tasks.ingest.places import Place
from tasks.ingest.run import build_image_set
from tasks.progress import Silent

SOURCE = CocoSource(kind="coco", root=".", captions="captions.json", instances="instances.json", images="images/*.tar")
SIDE = 16
CAPTIONS, BOXES = 5, 3
HEADING = "| images | seconds (images/s) | again, all known | peak memory, first process | largest worker |"


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--generate", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate is not None:
        generate(options.measure, options.generate)
    elif options.measure is not None:
        sys.stdout.write(json.dumps(measure(options.measure)))
    else:
        sys.stdout.write(f"{HEADING}\n|---|---|---|---|---|\n")
        for number in (*options.images, *([1_000_000] if options.million else [])):
            sys.stdout.write(row(number) + "\n")
            sys.stdout.flush()


def row(number: int) -> str:
    """Generate so many images, ingest them twice, and say how that went."""
    with tempfile.TemporaryDirectory(prefix="llavaflow-ingest-") as folder:
        _python("--generate", str(number), "--measure", folder)
        first, again = (json.loads(_python("--measure", folder)) for _ in range(2))
    assert first["images"] == again["images"] == number, (first, again)
    assert again["decoded"] == 0
    times = [f"{run['seconds']:.0f} ({number / run['seconds']:.0f})" for run in (first, again)]
    return f"| {number:,} | {' | '.join(times)} | {first['own']:.0f} MiB | {first['worker']:.0f} MiB |"


def measure(folder: Path) -> dict[str, float]:
    """Ingest a generated set; seconds, and peaks of memory in MiB."""
    config = DataConfig(source=SOURCE)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        started = time.monotonic()
        built = build_image_set(Path(out), config, [Place(str(folder))], Silent(), cache=folder / "decoded.db")
        seconds = time.monotonic() - started
    own, worker = (
        resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    counts = {name: float(built.counts[name]) for name in ("images", "decoded")}
    return {"seconds": seconds, "own": own, "worker": worker, **counts}


def generate(folder: Path, number: int) -> None:
    """Write a COCO data set whose annotations are not grouped by image, as those of the official files are not."""
    draw = np.random.default_rng(number)
    with PartWriter(folder) as parts:
        for image in range(number):
            buffer = io.BytesIO()
            Image.fromarray(draw.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(buffer, "PNG")
            parts.add(_name(image), buffer.getvalue())
    images = ({"id": image, "file_name": _name(image), "width": SIDE, "height": SIDE} for image in range(number))
    captions = (
        {"image_id": _other(place, number), "id": place, "caption": f"Caption {place} says what there is to be seen."}
        for place in range(CAPTIONS * number)
    )
    boxes = (
        {"image_id": _other(place, number), "id": place, "category_id": 1, "bbox": [1, 2, 3.5, 4.25], "iscrowd": 0}
        for place in range(BOXES * number)
    )
    _write(folder / SOURCE.captions, {"info": iter([{}]), "images": images, "annotations": captions})
    _write(folder / SOURCE.instances, {"annotations": boxes, "categories": iter([{"id": 1, "name": "thing"}])})


def _name(image: int) -> str:
    return f"{image:012d}.png"


def _other(place: int, number: int) -> int:
    """An image for each annotation, scattered over all of them evenly."""
    return place * 7_368_787 % number


def _write(path: Path, lists: dict[str, Iterator[dict[str, Any]]]) -> None:
    with path.open("w", encoding="utf-8") as handle:
        handle.write("{")
        for place, (name, rows) in enumerate(lists.items()):
            handle.write(f'{", " if place else ""}"{name}": [')
            _write_rows(handle, rows)
            handle.write("]")
        handle.write("}")


def _write_rows(handle: TextIO, rows: Iterator[dict[str, Any]]) -> None:
    for place, item in enumerate(rows):
        handle.write((", " if place else "") + json.dumps(item))


def _python(*arguments: str) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.ingest", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
