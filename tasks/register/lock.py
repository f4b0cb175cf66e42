"""The lock of a promotion, and what a holder has to do before it moves anything.

A lock of the system (`file_lock`) is lost only with its process. A lease that lies in a database or in S3 runs out, so
that a dead machine frees it: a holder that slept for longer has lost it without knowing. Whoever moves the alias does
so inside `Hold.fenced`, which a holder that lost its lease cannot enter.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from tasks.errors import RegistryError
from tasks.processes import try_lock

LEASE_SECONDS = 30.0
"""How long a lease is good for: a move takes less than one, and after a crash the next has to wait so long."""
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.1


class Hold(Protocol):
    """A lock that is held."""

    def fenced(self) -> AbstractContextManager[None]:
        """The lock is ours while the block begins, and for its length. Raises RegistryError if it was lost."""


class Unlosable:
    """A lock that only the end of the process ends."""

    def fenced(self) -> AbstractContextManager[None]:
        """See `Hold`."""
        return nullcontext()


Lock = Callable[[], AbstractContextManager[Hold]]


@contextmanager
def file_lock(path: Path, timeout: float = WAIT_SECONDS, poll: float = POLL_SECONDS) -> Iterator[Hold]:
    """Hold a lock among the processes of one machine (or one shared file system with POSIX locks).

    The system frees it when the process ends, however it ends. Raises RegistryError after `timeout` seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        wait_for(lambda: try_lock(handle.fileno()), str(path), timeout, poll)
        try:
            yield Unlosable()
        finally:
            fcntl.flock(handle, fcntl.LOCK_UN)


def wait_for(taken: Callable[[], bool], where: str, timeout: float, poll: float) -> None:
    """Try again until it is taken. Raises RegistryError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not taken():
        if time.monotonic() >= deadline:
            raise RegistryError(f"another promotion holds {where} since {timeout:g} s; wait for it, then run again")
        time.sleep(poll)


def lost(where: str) -> RegistryError:
    """What a holder is told that comes too late."""
    return RegistryError(f"the lease {where} ran out while this promotion slept; nothing was moved, run it again")


def new_holder() -> str:
    """A name that nobody else has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
