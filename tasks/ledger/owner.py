"""Who holds a lease: one asker of one process, and whether that process can still be alive."""

from __future__ import annotations

import os
import socket
from itertools import count
from pathlib import Path

_owners = count()


def new_owner() -> str:
    """A name for one asker of this process: host, process, the process's start, a number."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_of(os.getpid())}:{next(_owners)}"


def abandoned(owner: str | None, lease_until: float | None, now: float) -> bool:
    """Whether a request under way may be sent by another: its owner is gone, or its lease has run out."""
    return owner is None or lease_until is None or lease_until <= now or not _may_live(owner)


def _may_live(owner: str) -> bool:
    """False if the owner was a process of this host that is gone; of other hosts only the lease tells."""
    host, pid, start, _ = owner.rsplit(":", 3)
    return host != socket.gethostname() or (start == _start_of(int(pid)) and start != "gone")


def _start_of(pid: int) -> str:
    """When a process was started, in the kernel's ticks, so that a pid given anew is told apart; "gone" without it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "gone" if state == "Z" else fields[18]
