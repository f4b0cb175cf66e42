"""Child processes that never outlive their parent, signals that reach whom they should, and file locks."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

PR_SET_PDEATHSIG = 1
SIGACTION_BYTES = 512
"""More than a `struct sigaction` takes anywhere."""


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however it ends. Linux only; elsewhere it does nothing.

    An interrupt from the terminal reaches the whole group; it is the parent's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def interrupts_withheld() -> Iterator[None]:
    """Processes that this thread starts in the meantime never hear of an interrupt from the terminal.

    They inherit what the thread blocks, from their very first moment. The main thread has to hear it, and blocks
    nothing.
    """
    if threading.current_thread() is threading.main_thread():
        yield
        return
    # Python's helper process for shared resources, once started, unblocks what is blocked; so it comes first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def handlers_kept(*signals: signal.Signals) -> Iterator[None]:
    """What this process does on the signals stays as it is, whatever is called in the meantime, from any thread.

    Libraries in C install handlers of their own below Python's, which Python then never hears of.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    below = {number: ctypes.create_string_buffer(SIGACTION_BYTES) for number in signals}
    for number, kept in below.items():
        libc.sigaction(int(number), None, kept)
    above = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in above.items():
                signal.signal(number, handler)
        for number, kept in below.items():
            libc.sigaction(int(number), kept, None)


def try_share(descriptor: int) -> bool:
    """As `try_lock`, a lock that any number may hold together, but none beside a holder of `try_lock`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock(descriptor: int) -> bool:
    """Take the lock of an open file, unless another holds it. The system frees it when the process ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
