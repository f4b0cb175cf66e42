from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.errors import NonFiniteLoss
from tasks.progress import Silent
from tasks.train.cluster import RaySettings
from tasks.train.fit import fit
from tasks.train.place import Place

INTERRUPTED = """
import os, signal, sys, threading
from types import SimpleNamespace
from flows.interrupts import Interrupts
from tasks.progress import Silent
from tasks.train.fit import fit

told = threading.Event()
def train():
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    assert told.wait(30)
    print("kept", flush=True)
with Interrupts() as interrupts:
    try:
        fit(SimpleNamespace(fit=train), told.set, Silent())
    except KeyboardInterrupt:
        print("ended", interrupts.status)
"""


def test_what_the_first_worker_returned_comes_back() -> None:
    assert fit(SimpleNamespace(fit=lambda: SimpleNamespace(return_value=7)), lambda: None, Silent()) == 7


def test_what_fit_raises_is_raised() -> None:
    def fails() -> None:
        raise NonFiniteLoss("step 3")

    with pytest.raises(NonFiniteLoss, match="step 3"):
        fit(SimpleNamespace(fit=fails), lambda: None, Silent())


def test_training_runs_beside_the_main_thread_where_ray_would_replace_our_handlers() -> None:
    where: list[threading.Thread] = []

    def look() -> SimpleNamespace:
        where.append(threading.current_thread())
        return SimpleNamespace(return_value=None)

    assert fit(SimpleNamespace(fit=look), lambda: None, Silent()) is None
    assert where[0] is not threading.main_thread()


def test_an_interrupt_has_the_workers_keep_where_they_are_before_the_run_ends(project: Path) -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["kept", "ended", "130"], done.stderr


def test_checkpoints_go_beside_the_work_or_where_the_settings_say() -> None:
    work = Path("/runs/work/align-12ab")
    assert RaySettings(None, Path("/t")).place(work) == Place("/runs/work/align-12ab/checkpoints")
    remote = RaySettings(None, Path("/t"), checkpoints="s3://bucket/prefix/", storage_options={"endpoint_url": "u"})
    assert remote.place(work) == Place("s3://bucket/prefix/align-12ab", {"endpoint_url": "u"})
