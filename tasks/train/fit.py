"""Ray Train as this project uses it: it starts workers, and starts them again when some are lost. Nothing else.

Which checkpoint to go on from, and whether all is done, is never Ray's to say (docs/decisions/0014): to fit a finished
run again would call the training function once more, a run of the same name goes on whatever its configuration, and
what Ray remembers of a run may be refused by another version of it.
"""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.progress import Progress
from tasks.train.job import Job

POLL_SECONDS = 0.2
DRAIN_SECONDS = 300.0
"""How long an interrupted run waits for the workers to end the step they are in and keep where they are."""


def trainer_of(job: Job, work: Path, board: Any) -> Any:
    """A TorchTrainer for the job. Its run has a name that no other has, so that Ray finds nothing to go on from."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    from tasks.train.listening import ListeningTorch
    from tasks.train.worker import train_loop_per_worker

    train = job.train
    resources: dict[str, float] = {"CPU": train.cpus_per_worker}
    if train.gpus_per_worker:
        resources["GPU"] = train.gpus_per_worker
    shutil.rmtree(work / "ray", ignore_errors=True)
    return TorchTrainer(
        train_loop_per_worker,  # type: ignore[arg-type]  # what it returns comes with the result
        train_loop_config={"job": job, "board": board},
        torch_config=ListeningTorch(backend="nccl" if train.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=train.workers, use_gpu=bool(train.gpus_per_worker), resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=f"{work.name}-{uuid.uuid4().hex[:8]}",
            storage_path=str(work / "ray"),
            failure_config=FailureConfig(max_failures=train.max_failures),
        ),
    )


def fit(trainer: Any, stop: Callable[[], object], progress: Progress) -> int | None:
    """Run it to its end. Returns what the first worker returned: the steps done.

    An interrupt (KeyboardInterrupt) has the workers stop by `stop`, and is raised again when they have. Raises what
    `fit` raises.
    """
    # In a thread: in the main one Ray would put its own handler in place of ours on SIGINT, for good.
    outcome: list[Any] = []
    # Not the thread's own `join`: interrupted, Python 3.11's takes the thread for one that has ended.
    over = threading.Event()

    def run() -> None:
        try:
            outcome.append(trainer.fit())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            outcome.append(error)
        finally:
            over.set()

    threading.Thread(target=run, name="fit", daemon=True).start()
    try:
        while not over.wait(POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        progress.note("stopping: the step under way is ended and kept")
        stop()
        over.wait(DRAIN_SECONDS)
        raise
    (result,) = outcome
    if isinstance(result, BaseException):
        raise result
    value = result.return_value
    return value if isinstance(value, int) else None
