from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LISTENS = """
import os, signal
from tasks.train.drain import listen, told_to_stop
listen()
print(told_to_stop())
os.kill(os.getpid(), signal.SIGTERM)
print(told_to_stop())
"""


def test_a_worker_that_listens_takes_sigterm_as_being_told_and_lives_on(project: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LISTENS], cwd=project, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["False", "True"]
    assert done.returncode == 0, done.stderr
