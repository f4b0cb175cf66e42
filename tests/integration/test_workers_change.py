"""A stage whose worker was killed goes on from its checkpoint on another number of workers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from safetensors.numpy import load_file

from configs.load import load_experiment
from configs.schema import Experiment, ShardConfig
from model.stages import Stage
from tasks.errors import TrainingError
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.stages import Built
from tasks.train.board import Line
from tasks.train.cluster import RaySettings, shut_down
from tasks.train.prepare import Inputs
from tasks.train.run import Around, build_checkpoint
from tests.fakes.image_sets import Made, write_image_set
from tests.fakes.tiny_base import IMAGE_SIZE, save_tiny_base
from tests.unit.tasks.shard.sets import conversation, conversation_set

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

IDS = [f"scene-{number:03d}" for number in range(20)]
STEPS = 200


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaySettings]:
    yield RaySettings(address=None, temp=Path("/tmp") / f"ray-{tmp_path_factory.getbasetemp().name}", cpus=3)
    shut_down()


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("parts")
    talks = conversation_set(folder / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    (folder / "shards").mkdir()
    config = ShardConfig(max_samples=6, held_out=0.0)
    images = [Made(name, png(number), (f"a picture {number}",), format="png") for number, name in enumerate(IDS)]
    write_image_set(folder / "images", images)
    build_shards(folder / "shards", folder / "images", talks, config, 0, Silent())
    return save_tiny_base(folder / "base"), folder / "shards"


def png(number: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (10 * number, 80, 120)).save(held, "PNG")
    return held.getvalue()


def experiment(workers: int) -> Experiment:
    stage = f"{{batch: 4, steps: {STEPS}, lr: 0.001, checkpoint_every: 20, log_every: 1, max_length: 512}}"
    return load_experiment(
        "shapes", [f"train.workers={workers}", "train.max_failures=0", "train.precision=fp32",
                   f"train.stages.align={stage}"]
    )


class Killer:
    """Kills a worker once a checkpoint is whole."""

    def __init__(self, work: Path) -> None:
        self.work, self.seen = work, list[Line]()

    def __call__(self, line: Line) -> None:
        self.seen.append(line)
        if list(self.work.glob("checkpoints/step-*/part-00000.json")):
            for process in psutil.Process().children(recursive=True):
                # One that has just ended has no command line any more.
                with suppress(psutil.NoSuchProcess):
                    if any("RayTrainWorker" in part for part in process.cmdline()):
                        process.kill()


def test_a_killed_stage_goes_on_with_more_workers(
    tmp_path: Path, parts: tuple[Path, Path], cluster: RaySettings
) -> None:
    def build(name: str, work: str, workers: int, watch: Killer | None = None) -> Built:
        (folder := tmp_path / name).mkdir()
        more = (watch,) if watch else ()
        return build_checkpoint(
            folder, Stage.ALIGN, Inputs(*parts), experiment(workers), Around(tmp_path / work, cluster, Silent(), *more)
        )

    killer = Killer(tmp_path / "work")
    with pytest.raises(TrainingError, match="run again to go on from the last checkpoint") as told:
        build("killed", "work", 1, killer)
    assert killer.seen, told.value
    assert killer.seen[0].keys() >= {"loss", "lr", "grad_norm", "tokens_per_second", "waiting_share", "row_fill"}
    resumed = build("resumed", "work", 2)
    build("whole", "other", 2)

    starts = resumed.facts["starts"]
    assert isinstance(starts, list) and [start["workers"] for start in starts] == [1, 2]  # type: ignore[index, call-overload]
    curves = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("resumed", "whole")
    ]
    assert len(curves[0]) == STEPS
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)
    weights = [load_file(tmp_path / name / "model" / "model.safetensors") for name in ("resumed", "whole")]
    for part, value in weights[1].items():
        np.testing.assert_allclose(weights[0][part], value, atol=1e-4, err_msg=part)
