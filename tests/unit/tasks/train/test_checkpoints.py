from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.errors import EnvironmentProblem
from tasks.train.checkpoints import FINAL, Checkpoints, TornCheckpoint, part_name
from tasks.train.place import Place, scratch_at

ONE, TWO = [(0, 1)], [(0, 2)]


def checkpoints(folder: Path, keep: int = 2) -> Checkpoints:
    return Checkpoints(Place(str(folder / "place"), backoff=()), folder / "scratch", keep)


def write(
    store: Checkpoints, folder: Path, step: int, rank: int = 0, ranks: int = 1, starts: Any = None, text: str = "bits"
) -> None:
    scratch = scratch_at(store.place, folder)
    scratch.mkdir(parents=True, exist_ok=True)
    made = [scratch / part_name(rank), *([scratch / "state.json"] if rank == 0 else [])]
    for path in made:
        path.write_text(f"{text} of {rank} after {step}")
    store.write(step, rank, ranks, starts or [(0, ranks)], made)


def test_a_checkpoint_is_whole_when_every_rank_has_said_so(tmp_path: Path) -> None:
    store = checkpoints(tmp_path)
    write(store, tmp_path, 3, rank=1, ranks=2)
    assert not store.whole()
    write(store, tmp_path, 3, rank=0, ranks=2)
    assert list(store.whole()) == [3]
    assert [path.read_text() for path in store.fetch(3, 1, 2)] == ["bits of 1 after 3"]
    assert len(store.fetch(3, 0, 1)) == 2, "another number of workers reads the parts of all"


def test_parts_of_runs_that_came_there_otherwise_make_no_checkpoint(tmp_path: Path) -> None:
    store = checkpoints(tmp_path)
    write(store, tmp_path, 4, rank=1, ranks=2)
    write(store, tmp_path, 4, rank=0, ranks=2, starts=[(0, 2), (2, 1), (3, 2)])
    assert not store.whole()


def test_what_fewer_workers_write_again_is_whole_by_itself(tmp_path: Path) -> None:
    store = checkpoints(tmp_path)
    write(store, tmp_path, 4, rank=1, ranks=2)
    write(store, tmp_path, 4, rank=0, ranks=1)
    assert store.whole()[4].ranks == 1
    assert [path.name for path in store.fetch(4, 0, 1)] == [part_name(0)]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda path: path.unlink(), "part-00000.safetensors is missing"),
        (lambda path: path.write_text("bits"), "part-00000.safetensors has 4 of 17 bytes"),
        (lambda path: path.write_text("bitz of 0 after 5"), "part-00000.safetensors was altered"),
    ],
)
def test_a_torn_file_is_told_before_anything_is_loaded(tmp_path: Path, harm: Any, told: str) -> None:
    store = checkpoints(tmp_path)
    write(store, tmp_path, 5)
    harm(tmp_path / "place" / "step-00000005" / part_name(0))
    with pytest.raises(TornCheckpoint, match=told):
        store.fetch(5, 0, 1)


def test_half_of_a_marker_is_none(tmp_path: Path) -> None:
    store = checkpoints(tmp_path)
    write(store, tmp_path, 2)
    write(store, tmp_path, 4)
    marker = tmp_path / "place" / "step-00000004" / "part-00000.json"
    marker.write_text(marker.read_text()[:20])
    assert list(store.whole()) == [2]


def test_the_newest_are_kept_and_what_is_under_way(tmp_path: Path) -> None:
    store = checkpoints(tmp_path, keep=2)
    for step in (2, 4, 6):
        write(store, tmp_path, step)
    write(store, tmp_path, 5, rank=1, ranks=2)
    write(store, tmp_path, 8, rank=1, ranks=2)
    store.prune()
    assert list(store.whole()) == [6, 4]
    assert sorted(path.name for path in (tmp_path / "place").glob("step-*")) == [
        "step-00000004", "step-00000006", "step-00000008"
    ]
    store.remove_after(4)
    assert list(store.whole()) == [4]


def test_nothing_half_written_is_left_beside_a_checkpoint(tmp_path: Path) -> None:
    write(checkpoints(tmp_path), tmp_path, 2)
    found = {path.name for path in (tmp_path / "place").rglob("*") if path.is_file()}
    assert found == {part_name(0), "state.json", "part-00000.json"}


def test_a_finished_model_is_there_when_its_marker_is(tmp_path: Path) -> None:
    store = checkpoints(tmp_path)
    (tmp_path / "made" / "model").mkdir(parents=True)
    (tmp_path / "made" / "model" / "weights").write_text("w")
    store.finish(tmp_path / "made")
    found = store.finished()
    assert found is not None
    assert (found / "model" / "weights").read_text() == "w"
    (found / FINAL).unlink()
    assert store.finished() is None
    store.files.clear()
    assert not (tmp_path / "place").exists()


def test_a_store_that_fails_for_a_while_is_asked_again(tmp_path: Path) -> None:
    asked: list[int] = []

    def shaky() -> str:
        asked.append(1)
        if len(asked) < 3:
            raise OSError("no route to host")
        return "there"

    assert Place(str(tmp_path), backoff=(0.0, 0.0)).trying("writing", shaky) == "there"


def test_a_store_that_fails_for_good_is_told_with_the_remedy(tmp_path: Path) -> None:
    def gone() -> None:
        raise OSError("no route to host")

    with pytest.raises(EnvironmentProblem, match=r"2 times \(no route to host\); earlier .* kept: see to .* run"):
        Place(str(tmp_path), backoff=(0.0,)).trying("writing the checkpoint of step 4", gone)
