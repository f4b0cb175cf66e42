from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_experiment
from configs.settings import Settings
from flows.roots import benchmarks, check_places, fingerprint, resolve, source_places
from flows.roots import test_sets as outside_test_sets
from tasks.errors import DataError
from tasks.ingest.places import Place

COCO = "data.source={kind: coco, root: coco}"


def test_a_relative_root_lies_under_the_experiment_s_or_the_machine_s(tmp_path: Path) -> None:
    (tmp_path / "one" / "coco").mkdir(parents=True)
    (tmp_path / "two" / "coco").mkdir(parents=True)
    settings = Settings(data_root=tmp_path / "one")
    assert source_places(load_experiment("shapes", [COCO]), settings) == (Place(str(tmp_path / "one" / "coco")),)
    named = load_experiment("shapes", [COCO, f"data.root={tmp_path / 'two'}"])
    assert source_places(named, settings) == (Place(str(tmp_path / "two" / "coco")),)


def test_a_missing_root_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--set data.root=FOLDER or LLAVAFLOW_DATA_ROOT"):
        resolve("nowhere", load_experiment("shapes"), Settings(data_root=tmp_path))


def test_shapes_need_no_root() -> None:
    assert source_places(load_experiment("shapes"), Settings()) == (None,)


def test_data_may_lie_in_a_bucket_and_benchmarks_may_not() -> None:
    settings = Settings(data_root="s3://bucket/data", s3_endpoint="http://127.0.0.1:1")
    experiment = load_experiment("shapes", [COCO])
    assert source_places(experiment, settings) == (Place("s3://bucket/data/coco", "http://127.0.0.1:1"),)
    with pytest.raises(DataError, match="absolute path of a copy"):
        resolve("scienceqa", experiment, settings)


def test_a_source_that_is_not_there_is_an_error_unless_its_size_is_told(tmp_path: Path) -> None:
    settings = Settings(data_root=tmp_path)
    with pytest.raises(DataError, match="there is no data folder"):
        check_places(load_experiment("shapes", [COCO]), settings)
    told = "data.source={kind: llava_json, root: r, file: f.json, stage: align, expected: 5}"
    check_places(load_experiment("shapes", [told]), settings)


def test_every_test_set_that_is_named_is_found(tmp_path: Path) -> None:
    (tmp_path / "sqa").mkdir()
    experiment = load_experiment("shapes", ["evaluate.scienceqa.root=sqa", f"data.root={tmp_path}"])
    found = outside_test_sets(experiment, Settings())
    assert [(one.name, one.root) for one in found] == [("scienceqa", tmp_path / "sqa")]


def test_a_named_benchmark_takes_the_place_of_the_one_that_came_with_the_images(tmp_path: Path) -> None:
    for folder in ("images/benchmarks/scienceqa", "images/benchmarks/llava_bench", "own"):
        (tmp_path / folder).mkdir(parents=True)
    experiment = load_experiment("shapes", ["evaluate.scienceqa.root=own", f"data.root={tmp_path}"])
    found = benchmarks(experiment, Settings(), tmp_path / "images")
    assert found == {
        "scienceqa": tmp_path / "own", "llava_bench": tmp_path / "images" / "benchmarks" / "llava_bench"
    }


def test_a_fingerprint_changes_with_what_is_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    (tmp_path / "b").write_text("")
    assert fingerprint(tmp_path) != first
