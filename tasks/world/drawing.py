"""Many scenes drawn into files, by two processes where it pays."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tasks.progress import Progress, Silent
from tasks.world.render import jpeg, png
from tasks.world.scene import Scene

PARALLEL_FROM = 1000
"""With fewer pictures starting the processes costs more than they save."""
PROCESSES = 2
CHUNK = 100


@dataclass(frozen=True)
class Picture:
    """A picture to write; the suffix of `path` says the format (.jpg or .png)."""

    scene: Scene
    path: Path
    pixels: int


def draw_all(pictures: Sequence[Picture], progress: Progress | None = None) -> None:
    """Write every picture, and the folders that they lie in."""
    reporter = progress or Silent()
    chunks = [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]
    done = 0
    if len(pictures) < PARALLEL_FROM:
        for chunk in chunks:
            done += draw_chunk(chunk)
            reporter.update(done, len(pictures))
        return
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        for drawn in pool.map(draw_chunk, chunks):
            done += drawn
            reporter.update(done, len(pictures))


def draw_chunk(pictures: Sequence[Picture]) -> int:
    """Write some pictures; the number written."""
    for picture in pictures:
        encode = png if picture.path.suffix == ".png" else jpeg
        picture.path.parent.mkdir(parents=True, exist_ok=True)
        picture.path.write_bytes(encode(picture.scene, picture.pixels))
    return len(pictures)
