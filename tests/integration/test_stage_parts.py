"""One stage on two workers with all that a stage may have, under ZeRO-3, where ranks that differ would hang: a mixture,
adapters, samples of none, one and several images, held-out samples answered on the way, and a profile.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from configs.load import load_experiment
from configs.schema import Experiment, ShardConfig
from model.build import assemble
from model.records import Sample
from model.stages import Stage
from model.templates import template_named
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.stages import Built
from tasks.train.cluster import RaySettings, shut_down
from tasks.train.prepare import Inputs
from tasks.train.profile import TABLE, TRACE
from tasks.train.run import Around, build_checkpoint
from tests.fakes.image_sets import Made, write_image_set
from tests.fakes.tiny_base import IMAGE_SIZE, save_tiny_base
from tests.unit.tasks.shard.sets import conversation_set

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
STEPS, BATCH = 4, 4


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RaySettings]:
    yield RaySettings(address=None, temp=Path("/tmp") / f"ray-{tmp_path_factory.getbasetemp().name}", cpus=3)
    shut_down()


def png(number: int) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE), (10 * number % 255, 80, 120)).save(held, "PNG")
    return held.getvalue()


def talk(name: str, images: tuple[str, ...]) -> Sample:
    asked = "<image>\n" * len(images) + "What is it?"
    told = {
        "id": name, "image": images[0] if images else None, "more_images": images[1:] or None, "kind": "given",
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": f"It is {name}."}],
    }
    return Sample.model_validate(told)


def shards(folder: Path, name: str, number: int, held_out: float) -> Path:
    """Samples of none, one, two and three images in turn."""
    ids = [f"{name}-{at:02d}" for at in range(number)]
    write_image_set(
        folder / "images", [Made(one, png(at), (f"picture {at}",), format="png") for at, one in enumerate(ids)]
    )
    talks = [talk(f"{one}-talk", tuple(ids[at : at + at % 4])) for at, one in enumerate(ids)]
    (folder / "shards").mkdir()
    talked = conversation_set(folder / "talks", talks)
    build_shards(folder / "shards", folder / "images", talked, ShardConfig(held_out=held_out), 0, Silent())
    return folder / "shards"


def experiment() -> Experiment:
    mixture = "[{name: own, samples: 5}, {name: other, shards: /elsewhere/shard/x, epochs: 0.5}]"
    stage = (
        f"{{batch: {BATCH}, steps: {STEPS}, lr: 0.01, sample_every: 2, max_length: 512, row_tokens: 128, "
        f"mixture: {mixture}}}"
    )
    return load_experiment(
        "shapes", ["train.workers=2", "train.max_failures=0", "train.precision=fp32", "train.deepspeed=zero3",
                   "train.lora={r: 4, alpha: 8, dropout: 0.1}", f"train.stages.instruct={stage}"]
    )


@pytest.fixture(scope="module")
def trained(cluster: RaySettings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("stage")
    own, other = shards(folder / "own", "own", 24, 0.3), shards(folder / "other", "other", 8, 0.0)
    start = assemble(save_tiny_base(folder / "base"), "mlp2x_gelu", -2, "square", 0)
    start.save(folder / "start" / "model", template_named("v1"))
    out = folder / "out"
    out.mkdir()
    built = build_checkpoint(
        out, Stage.INSTRUCT, Inputs(folder / "start", own, {"other": other}), experiment(),
        Around(folder / "work", cluster, Silent(), profile=folder / "profile"),
    )
    return folder, built


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_mixture_is_told_exactly(trained: tuple[Path, Built]) -> None:
    _, built = trained
    mixture: Any = built.facts["mixture"]
    assert mixture["other"]["usable"] == 8
    assert (mixture["own"]["an_epoch"], mixture["other"]["an_epoch"]) == (5, 4)
    assert mixture["own"]["taken"] + mixture["other"]["taken"] == STEPS * BATCH == built.counts["samples"]


def test_the_checkpoint_is_a_plain_one_with_its_adapter_beside_it(trained: tuple[Path, Built]) -> None:
    folder, _ = trained
    names = ("start/model", "out/model")
    before, after = (
        AutoModelForImageTextToText.from_pretrained(folder / name, dtype=torch.float32).state_dict() for name in names
    )
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any("q_proj" in name and "language_model" in name for name in moved)
    assert any("multi_modal_projector" in name for name in moved)
    assert not any("vision_tower" in name or "embed_tokens" in name or "lm_head" in name for name in moved)
    adapter = load_file(folder / "out" / "adapter" / "adapter_model.safetensors")
    assert any(".lora_B." in name for name in adapter)


def test_held_out_samples_are_answered_on_the_way(trained: tuple[Path, Built]) -> None:
    folder, _ = trained
    told = lines(folder / "out" / "answers.jsonl")
    asked = Counter(line["key"] for line in told)
    assert asked and set(asked.values()) == {2}
    assert [line["step"] for line in told[:: len(asked)]] == [2, STEPS]
    for line in told:
        assert line["wanted"] == f"It is {line['key']}."
        assert (folder / "out" / line["picture"]).read_bytes().startswith(b"\x89PNG")


def test_the_profile_tells_where_the_time_goes(trained: tuple[Path, Built]) -> None:
    folder, _ = trained
    table = (folder / "profile" / TABLE).read_text(encoding="utf-8")
    for part in ("vision", "language model, forward", "logits and loss", "backward", "optimizer", "waiting for data"):
        assert f"| {part} |" in table
    trace = json.loads((folder / "profile" / TRACE).read_text(encoding="utf-8"))
    assert any("llavaflow: backward" in str(event.get("name")) for event in trace["traceEvents"])
