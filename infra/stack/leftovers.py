"""Processes of a stack that its supervisor does not know any more: after a crash, or what programs had started."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import psutil

from infra.stack.places import Places
from infra.stack.programs import MARK

GRACE = 10.0
"""Seconds between asking to end and ending."""


def left_over(places: Places) -> list[psutil.Process]:
    """Processes that carry the mark of this stack in their environment, all they have started, and its Postgres.

    Some programs write over their own environment (Postgres, workers of Ray): their parents still have it.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            if process.environ().get(MARK) == places.id or _is_postgres(process, places) or _is_ray(process, places):
                found[process.pid] = process
                found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:  # another user's, or gone meanwhile
            continue
    return list(found.values())


def end(processes: Iterable[psutil.Process]) -> None:
    """Ask them to end, and end those that have not."""
    asked = list(processes)
    for process in asked:
        try:
            process.terminate()
        except psutil.Error:
            continue
    _, alive = psutil.wait_procs(asked, timeout=GRACE)
    for process in alive:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(alive, timeout=GRACE)


def sweep(places: Places) -> int:
    """End everything left over; how many that were."""
    count = 0
    for _ in range(3):  # what ends may start something in its last moment
        found = left_over(places)
        if not found:
            break
        count += len(found)
        end(found)
        time.sleep(0.1)
    return count


def _is_postgres(process: psutil.Process, places: Places) -> bool:
    return process.name() == "postgres" and str(places.data / "postgres") in process.cmdline()


def _is_ray(process: psutil.Process, places: Places) -> bool:
    return any(str(places.ray) in word for word in process.cmdline()[:64])
