"""Stage align of tiny parts on Ray, as a process that can be killed: `python -m tests.fakes.tiny_training JOB.json`.

It writes a JSON line a step to stdout, and a line {"note": ...} for what the stage has to say. Its status is 0 when the
checkpoint is made, 1 with the error's line on stderr else.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from configs.load import load_experiment
from configs.schema import Experiment, ShardConfig
from tasks.errors import LlavaflowError
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tests.fakes.image_sets import Made, write_image_set
from tests.fakes.tiny_base import IMAGE_SIZE, save_tiny_base
from tests.unit.tasks.shard.sets import conversation, conversation_set

IDS = [f"scene-{number:03d}" for number in range(20)]


@dataclass(frozen=True)
class TinyJob:
    """What to train, and where. Paths as text, as it travels as JSON."""

    base: str
    shards: str
    out: str
    work: str
    temp: str
    workers: int = 2
    steps: int = 200
    every: int = 5
    max_failures: int = 0
    checkpoints: str | None = None
    storage_options: dict[str, Any] = field(default_factory=dict)

    def experiment(self) -> Experiment:
        """Of shapes, but for the stage."""
        stage = f"{{batch: 4, steps: {self.steps}, lr: 0.001, checkpoint_every: {self.every}, log_every: 1, "
        return load_experiment(
            "shapes", [f"train.workers={self.workers}", f"train.max_failures={self.max_failures}",
                       "train.precision=fp32", f"train.stages.align={stage}max_length: 512}}"]
        )


def parts(folder: Path) -> tuple[Path, Path]:
    """Base models and shards."""
    talks = conversation_set(folder / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    (folder / "shards").mkdir()
    images = [Made(name, _png(number), (f"a picture {number}",), format="png") for number, name in enumerate(IDS)]
    write_image_set(folder / "images", images)
    config = ShardConfig(max_samples=6, held_out=0.0)
    build_shards(folder / "shards", folder / "images", talks, config, 0, Silent())
    return save_tiny_base(folder / "base"), folder / "shards"


def _png(number: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (10 * number, 80, 120)).save(held, "PNG")
    return held.getvalue()


class Told:
    """Progress whose notes go to stdout."""

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """Steps are told by `watch`."""

    def note(self, message: str) -> None:
        """A line."""
        tell({"note": message})


def tell(line: dict[str, Any]) -> None:
    """A JSON line to stdout."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def train(job: TinyJob) -> None:
    """Train it, in this process."""
    from model.stages import Stage
    from tasks.train.cluster import RaySettings
    from tasks.train.prepare import Inputs
    from tasks.train.run import Around, build_checkpoint

    cluster = RaySettings(
        None, Path(job.temp), job.workers + 1, checkpoints=job.checkpoints, storage_options=job.storage_options
    )
    # What a killed start has left of an artifact is thrown away, as the spine does it.
    shutil.rmtree(job.out, ignore_errors=True)
    Path(job.out).mkdir(parents=True)
    built = build_checkpoint(
        Path(job.out), Stage.ALIGN, Inputs(Path(job.base), Path(job.shards)), job.experiment(),
        Around(Path(job.work), cluster, Told(), lambda line: tell({"step": line["step"], "loss": line["loss"]})),
    )
    tell({"facts": {name: value for name, value in built.facts.items() if name != "step_seconds"}})


def main() -> int:
    """Train what the file says."""
    from flows.interrupts import Interrupts
    from tasks.train.cluster import shut_down

    job = TinyJob(**json.loads(Path(sys.argv[1]).read_text()))
    with Interrupts() as interrupts:
        try:
            train(job)
        except KeyboardInterrupt:
            return interrupts.status
        except LlavaflowError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
        finally:
            shut_down()
    return 0


def write_job(job: TinyJob, path: Path) -> Path:
    """As `main` reads it."""
    path.write_text(json.dumps(asdict(job)))
    return path


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)
