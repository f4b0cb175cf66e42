"""A stage's ranks as bare processes, killed (-9) again and again.

    python -m tests.fakes.killed_ranks JOB.json WORKERS SEED

They do what Ray's workers do, without Ray: what is imported once is forked for each start, so that a kill costs moments
instead of half a minute. Whoever is killed, the others end too, as Ray sees to. Writes a JSON line to stdout: how many
were killed, and the starts and losses as the finished model tells them. WORKERS says how many each start has ("2,1");
all but the last are killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from tests.fakes.tiny_training import TinyJob, tell


def prepare(tiny: TinyJob) -> Any:
    """The job as workers get it."""
    from model.stages import Stage
    from tasks.progress import Silent
    from tasks.train.place import Place
    from tasks.train.prepare import Inputs
    from tasks.train.prepare import prepare as made

    work = Path(tiny.work)
    work.mkdir(parents=True)
    place = Place(str(work / "checkpoints"))
    inputs = Inputs(Path(tiny.base), Path(tiny.shards))
    return made(Stage.ALIGN, inputs, tiny.experiment(), work, place, Silent()).job


def rank_of(job: Any, rank: int, ranks: int, port: int) -> int:
    """Fork a rank. Returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        from tasks.train.worker import _Loop

        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
        os.environ |= {name: str(value) for name, value in told.items()}
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process lives
        torch.distributed.init_process_group("gloo")
        board = SimpleNamespace(put=SimpleNamespace(remote=lambda line: None))
        with tempfile.TemporaryDirectory() as scratch:
            loop = _Loop(job, rank, ranks, board, Path(scratch))
            torch.manual_seed(job.seed)
            loop.run(loop.restore())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - the end of a process
        sys.stderr.write(f"rank {rank}: {error!r}\n")
        os._exit(1)


def start(job: Any, ranks: int) -> list[int]:
    """Fork all ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    return [rank_of(job, rank, ranks, port) for rank in range(ranks)]


def end(pids: Sequence[int]) -> list[int]:
    """Kill and reap. Returns the statuses."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return [os.waitpid(pid, 0)[1] for pid in pids]


def newest(job: Any) -> int:
    """The step of the newest whole checkpoint."""
    from tasks.train.checkpoints import Checkpoints

    return next(iter(Checkpoints(job.place, Path(tempfile.gettempdir()), 1).whole()), 0)


def kill_at_random(job: Any, ranks: int, draw: random.Random) -> bool:
    """One start, killed some moments after its first whole checkpoint; False if it ended before."""
    before, pids = newest(job), start(job, ranks)
    while newest(job) <= before:
        if os.waitpid(pids[0], os.WNOHANG)[0]:
            end(pids[1:])
            return False
        time.sleep(0.002)
    time.sleep(draw.choice([0.0, draw.uniform(0.0, 0.02), draw.uniform(0.0, 0.3)]))
    victim = draw.choice(pids)
    with suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    time.sleep(draw.uniform(0.0, 0.05))
    end(pids)
    return True


def main() -> int:
    """Kill as told, let it end, and tell."""
    from tasks.train.checkpoints import Checkpoints

    torch.set_num_threads(1)
    job = prepare(TinyJob(**json.loads(Path(sys.argv[1]).read_text())))
    draw = random.Random(int(sys.argv[3]))
    *killed, last = [int(ranks) for ranks in sys.argv[2].split(",")]
    kills = 0
    for ranks in killed:
        kills += kill_at_random(replace(job, train=job.train.model_copy(update={"workers": ranks})), ranks, draw)
    for pid in start(job, last):
        os.waitpid(pid, 0)
    final = Checkpoints(job.place, Path(tempfile.gettempdir()), 1).finished()
    if final is None:
        return 1
    told = json.loads((final / "history.json").read_text())
    tell({"kills": kills, "starts": told["segments"], "losses": [line["loss"] for line in told["history"]]})
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
