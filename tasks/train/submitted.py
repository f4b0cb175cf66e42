"""The other side of `tasks/train/submission.py`: what a submitted job does on the cluster.

    python -m tasks.train.submitted '{"place": "s3://bucket/prefix/jobs/align-0123", "options": {...}}'
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any

from configs.schema import Experiment
from configs.settings import Settings
from model.stages import Stage
from tasks.artifacts import Artifact, BaseModels, Checkpoint, ShardSet
from tasks.errors import LlavaflowError, TrainingError
from tasks.remote_spans import FileCache, readable
from tasks.storage import Store
from tasks.train.board import Line
from tasks.train.cluster import RaySettings
from tasks.train.devices import device_memory
from tasks.train.prepare import Inputs
from tasks.train.run import Around, build_checkpoint
from tasks.train.submission import BUILT, FAILURE, MARK, ORDER, RESULT, JobOrder, Place

KINDS: dict[str, type[Artifact]] = {kind.kind: kind for kind in (BaseModels, Checkpoint)}


def main(arguments: list[str]) -> int:
    """Do what the order at the place says. Exit status 0, or 1 with the reason in the place."""
    told = json.loads(arguments[0])
    place = Place(told["place"], told["options"])
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        work(place, Spoken())
    except KeyboardInterrupt:
        failed(place, TrainingError("the job was told to stop; run again to go on from its last checkpoint"))
        return 1
    except LlavaflowError as error:
        failed(place, error)
        return 1
    return 0


def work(place: Place, spoken: Spoken) -> None:
    """Train, and put the result at the place, its marker last."""
    text = place.read(ORDER)
    if text is None:
        raise TrainingError(f"{place.uri} holds no order")
    order, home = JobOrder.model_validate_json(text), Settings().home()
    store = Store(order.store, home / "scratch", dict(order.options))
    start = store.local(KINDS[order.start_kind].model_validate(order.start))
    cache = FileCache(home / "scratch" / "shards", Settings().shard_cache_gb * 10**9)
    shards = readable(store, ShardSet.model_validate(order.shards), cache)
    others = {
        name: readable(store, ShardSet.model_validate(other), cache) for name, other in order.others.items()
    }
    # "auto": the cluster that this job was submitted to.
    cluster = RaySettings(
        address="auto", temp=home / "ray", checkpoints=order.checkpoints, storage_options=dict(order.options)
    )
    home.mkdir(parents=True, exist_ok=True)
    experiment = Experiment.model_validate(order.experiment)
    around = Around(home / "work" / order.name, cluster, spoken, spoken.figures, device_memory(experiment.train))
    with tempfile.TemporaryDirectory(prefix="job-", dir=home) as folder:
        built = build_checkpoint(Path(folder), Stage(order.stage), Inputs(start, shards, others), experiment, around)
        place.put(Path(folder), RESULT)
    place.write(BUILT, json.dumps({"counts": built.counts, "facts": built.facts}))


class Spoken:
    """Progress as lines of output that the watcher understands."""

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """See `Progress`."""
        self._say({"done": done, "total": total, "shown": shown})

    def note(self, message: str) -> None:
        """See `Progress`."""
        self._say({"note": message})

    def figures(self, line: Line) -> None:
        """Figures of a step."""
        self._say({"figures": line})

    @staticmethod
    def _say(told: dict[str, Any]) -> None:
        sys.stdout.write(f"{MARK}{json.dumps(told)}\n")
        sys.stdout.flush()


def failed(place: Place, error: LlavaflowError) -> None:
    """Write down why there is no result."""
    place.write(FAILURE, json.dumps({"kind": type(error).__name__, "message": str(error)}))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """To be told to stop is what Ctrl-C is to a run of its own."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
