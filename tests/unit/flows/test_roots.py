from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_experiment
from configs.settings import Settings
from flows.roots import benchmarks, fingerprint, resolve, source_root
from tasks.errors import DataError

COCO = "data.source={kind: coco, root: coco}"


def test_a_relative_root_lies_under_the_experiment_s_or_the_machine_s(tmp_path: Path) -> None:
    (tmp_path / "one" / "coco").mkdir(parents=True)
    (tmp_path / "two" / "coco").mkdir(parents=True)
    settings = Settings(data_root=tmp_path / "one")
    assert source_root(load_experiment("shapes", [COCO]), settings) == tmp_path / "one" / "coco"
    named = load_experiment("shapes", [COCO, f"data.root={tmp_path / 'two'}"])
    assert source_root(named, settings) == tmp_path / "two" / "coco"


def test_a_missing_root_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--set data.root=FOLDER or LLAVAFLOW_DATA_ROOT"):
        resolve("nowhere", load_experiment("shapes"), Settings(data_root=tmp_path))


def test_shapes_need_no_root() -> None:
    assert source_root(load_experiment("shapes"), Settings()) is None


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
