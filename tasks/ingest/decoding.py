"""Decode many images in worker processes, a bounded number of them under way at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from configs.schema import ImageLimits
from tasks.errors import EnvironmentProblem
from tasks.ingest.images import Decoded, Job, decode
from tasks.ingest.records import Quarantined

PARALLEL_FROM = 256
CHUNK = 16
CHUNKS_A_PROCESS = 3
"""Under way at a time: one being decoded, and some that wait on either side. With the chunk it bounds memory."""
MAX_PROCESSES = 8

Tag = TypeVar("Tag")
Outcome = Decoded | Quarantined


def decode_all(
    jobs: Iterable[tuple[Tag, Job | Quarantined]], total: int, limits: ImageLimits
) -> Iterator[tuple[Tag, Outcome]]:
    """Decode the image of every job, in their order; each comes back with what it was tagged with.

    A record that is quarantined already passes through. Raises EnvironmentProblem if a worker process dies.
    """
    if total < PARALLEL_FROM:
        for tag, job in jobs:
            yield tag, job if isinstance(job, Quarantined) else decode(job, limits)
        return
    processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    under_way: deque[tuple[list[Tag], Future[list[Outcome]]]] = deque()
    source = iter(jobs)
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            while (chunk := list(islice(source, CHUNK))) or under_way:
                if chunk:
                    tags, batch = [tag for tag, _ in chunk], [job for _, job in chunk]
                    under_way.append((tags, pool.submit(_decode_chunk, batch, limits)))
                if not chunk or len(under_way) >= processes * CHUNKS_A_PROCESS:
                    tags, done = under_way.popleft()
                    yield from zip(tags, done.result(), strict=True)
        except BrokenProcessPool as error:
            raise EnvironmentProblem(
                "a process that decodes images died, most likely for want of memory: lower data.limits.max_pixels"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode_chunk(jobs: Sequence[Job | Quarantined], limits: ImageLimits) -> list[Outcome]:
    return [job if isinstance(job, Quarantined) else decode(job, limits) for job in jobs]
