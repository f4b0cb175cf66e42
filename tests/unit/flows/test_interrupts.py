from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

RUNS = """
import subprocess, sys, threading, time
from flows.interrupts import Interrupts, end_children, leave
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", deaf])
threading.Thread(target=time.sleep, args=(60,)).start()
with Interrupts() as interrupts:
    try:
        print(child.pid, flush=True)
        time.sleep(60)
    except KeyboardInterrupt as error:
        print(type(error).__name__, flush=True)
        end_children(grace=0.5)
        leave(interrupts.status)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_its_threads_and_its_children(number: signal.Signals, project: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", RUNS], cwd=project, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        child = int(process.stdout.readline())
        process.send_signal(number)
        assert process.stdout.readline().strip() == "Interrupted"
        assert process.wait(20) == 128 + number
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(child)
