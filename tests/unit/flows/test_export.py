"""Export: official LLaVA JSON that says what the shards hold, by the field names that other trainers read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.schema import ShardConfig
from configs.settings import Settings
from flows.export import export
from model.records import Sample
from tasks.artifacts import MANIFEST, MadeBy
from tasks.errors import ArtifactError, ConfigError, DataError
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.shards import ShardReader
from tasks.storage import make_manifest
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_bytes, image_set

IDS = [f"scene-{number:03d}" for number in range(20)]
TALKS = [conversation(f"{name}-talk", name) for name in IDS] + [
    conversation(f"{IDS[0]}-again", IDS[0]), conversation("text/only 1", None)
]  # fmt: skip
MADE_BY = MadeBy(stage="shard", code="c", config="d")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "root")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A shard set in the place where a store would have it."""
    folder = tmp_path / "store" / "shard" / "k"
    folder.mkdir(parents=True)
    talks = conversation_set(tmp_path / "talks", TALKS)
    config = ShardConfig(max_samples=5, held_out=0.3, writers=1)
    built = build_shards(folder, image_set(tmp_path / "images", IDS), talks, config, 0, Silent())
    manifest = make_manifest(folder, "ShardSet", "k", {}, built.counts, {}, {}, MADE_BY)
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def read_back(file: Path, images: Path | None = None) -> list[Sample]:
    """The samples by the official fields alone. An image's file name without its suffix is its id."""
    found = []
    for entry in json.loads(file.read_text(encoding="utf-8")):
        assert set(entry) - {"image"} == {"id", "conversations"}
        name = entry.get("image")
        if name is not None and images is not None:
            assert (images / name).read_bytes() == image_bytes(Path(name).stem)
        turns = [{"from": turn["from"], "value": turn["value"]} for turn in entry["conversations"]]
        image = None if name is None else Path(name).stem
        found.append(
            Sample.model_validate(
                {"id": entry["id"], "image": image, "kind": "conversation", "conversations": turns}
            )
        )
    return found


def by_id(samples: list[Sample]) -> list[Sample]:
    return sorted(samples, key=lambda sample: sample.id)


def test_everything_that_was_sharded_comes_back_by_the_official_fields(
    shards: Path, tmp_path: Path, settings: Settings
) -> None:
    written = export(str(shards), tmp_path / "out.json", tmp_path / "pictures", with_held_out=True, settings=settings)
    assert by_id(read_back(tmp_path / "out.json", tmp_path / "pictures")) == by_id(TALKS)
    assert (written.samples, written.images) == (len(TALKS), len(IDS))
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"{name}.jpg" for name in IDS}


def test_what_is_held_out_is_left_out_unless_it_is_asked_for(shards: Path, tmp_path: Path, settings: Settings) -> None:
    written = export(str(shards), tmp_path / "out.json", settings=settings)
    with ShardReader(shards, "instruct") as reader:
        expected = [reader.sample(number) for number in range(len(reader))]
    assert by_id(read_back(tmp_path / "out.json")) == by_id(expected)
    assert 0 < written.samples < len(TALKS)
    assert written.images == 0


def test_samples_of_the_other_stage_may_be_had(shards: Path, tmp_path: Path, settings: Settings) -> None:
    written = export(str(shards), tmp_path / "out.json", stage="align", with_held_out=True, settings=settings)
    assert written.samples == len(IDS)
    with pytest.raises(DataError, match="'task' is neither align nor instruct"):
        export(str(shards), tmp_path / "out.json", stage="task", settings=settings)


def test_an_export_that_breaks_off_leaves_the_file_that_was_there(
    shards: Path, tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "out.json").write_text("mine")
    for shard in (shards / "instruct").iterdir():
        shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cut off"):
        export(str(shards), tmp_path / "out.json", settings=settings)
    assert (tmp_path / "out.json").read_text() == "mine"
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_run_is_exported_by_its_id(shards: Path, tmp_path: Path, settings: Settings) -> None:
    run = settings.home() / "shapes-1"
    run.mkdir(parents=True)
    stage = {"name": "shard", "cached": False, "reason": "first build", "seconds": 1.0, "uri": str(shards)}
    outcome = {
        "run": "shapes-1", "experiment": "shapes", "tag": "", "status": "finished", "started": "", "seconds": 1.0,
        "folder": str(run), "stages": [stage],
    }
    (run / "result.json").write_text(json.dumps(outcome))
    assert export("shapes-1", tmp_path / "out.json", settings=settings).samples > 0
    (run / "result.json").write_text(json.dumps(outcome | {"stages": []}))
    with pytest.raises(ArtifactError, match="run shapes-1 made no shards"):
        export("shapes-1", tmp_path / "out.json", settings=settings)


def test_where_no_shards_are_it_says_what_to_do(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(ArtifactError, match=r"shapes has no shards yet \(ingest: first build\): run `llavaflow shard"):
        export("shapes", tmp_path / "out.json", settings=settings)
    with pytest.raises(ConfigError):
        export("no such experiment", tmp_path / "out.json", settings=settings)
    assert not (tmp_path / "out.json").exists()
