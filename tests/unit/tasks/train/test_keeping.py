from __future__ import annotations

import threading
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from configs.schema import StageConfig
from tasks.errors import EnvironmentProblem, TrainingError
from tasks.train.checkpoints import Checkpoints, part_name
from tasks.train.engine import Engine
from tasks.train.keeping import Keeper
from tasks.train.partitions import Partitions
from tasks.train.place import Place, scratch_at
from tasks.train.state import State

IDENTITY = {"settings": "mine"}


class OneRank:
    """What a keeper asks of an engine, on a single rank."""

    ranks = 1

    def any_rank(self, said: bool) -> bool:
        return said

    def from_first(self, number: int) -> int:
        return number


class Weights:
    """Partitions of a single tensor."""

    def __init__(self) -> None:
        self.weight = torch.zeros(3)
        self.loaded: list[tuple[str, int]] = []

    def snapshot(self) -> dict[str, Tensor]:
        return {"weight": self.weight.clone()}

    def load(self, files: list[Path], rank: int, step: int) -> None:
        self.loaded.append((files[0].parent.name, step))


def keeper_of(
    folder: Path, said: list[str], *, every: int = 2, minutes: float | None = None, store: Checkpoints | None = None
) -> tuple[Keeper, Weights]:
    place, weights = Place(str(folder / "place"), backoff=()), Weights()
    config = StageConfig(batch=1, lr=0.1, checkpoint_every=every, checkpoint_minutes=minutes)
    store = store or Checkpoints(place, folder, 2)
    scratch = scratch_at(place, folder)
    keeper = Keeper(cast(Engine, OneRank()), cast(Partitions, weights), store, scratch, 0, config, said.append)
    return keeper, weights


def state(step: int, **identity: str) -> State:
    return State(step=step, identity=identity or IDENTITY, segments=[(0, 1)])


class Gate(Checkpoints):
    """Writes when it is let."""

    def __init__(self, place: Place, scratch: Path) -> None:
        super().__init__(place, scratch, 2)
        self.let = threading.Event()

    def write(self, *told: object) -> int:
        assert self.let.wait(30)
        return super().write(*told)  # type: ignore[arg-type]


class Gone(Checkpoints):
    """A store that is gone."""

    def write(self, *told: object) -> int:
        raise EnvironmentProblem("writing failed; earlier checkpoints are kept: see to it and run again")


def test_a_checkpoint_is_of_the_moment_it_was_made_though_it_is_written_later(tmp_path: Path) -> None:
    store = Gate(Place(str(tmp_path / "place"), backoff=()), tmp_path)
    keeper, weights = keeper_of(tmp_path, [], store=store)
    keeper.keep(state(2))
    assert not store.whole(), "training goes on before it is written"
    weights.weight += 7
    store.let.set()
    keeper.wait()
    from safetensors.torch import load_file

    assert load_file(store.fetch(2, 0, 1)[0])["weight"].tolist() == [0, 0, 0]


def test_a_store_that_is_gone_stops_no_training_but_the_last_checkpoint(tmp_path: Path) -> None:
    said: list[str] = []
    keeper, _ = keeper_of(tmp_path, said, store=Gone(Place(str(tmp_path)), tmp_path, 2))
    keeper.keep(state(2))
    keeper.keep(state(4))
    assert said == ["writing failed; earlier checkpoints are kept: see to it and run again; training goes on"]
    with pytest.raises(EnvironmentProblem, match="earlier checkpoints are kept"):
        keeper.keep_and_wait(state(6))


def test_a_torn_newest_checkpoint_falls_back_to_the_one_before_and_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    keeper, weights = keeper_of(tmp_path, said)
    for step in (2, 4):
        keeper.keep_and_wait(state(step))
    with (tmp_path / "place" / "step-00000004" / part_name(0)).open("r+b") as handle:
        handle.truncate(20)
    restored = keeper.restore(IDENTITY)
    assert restored is not None and restored.step == 2
    assert weights.loaded == [("step-00000002", 2)]
    assert said[0].startswith("the checkpoint of step 4 is torn (step-00000004/part-00000.safetensors has 20 of ")
    assert not (tmp_path / "place" / "step-00000004").exists()


def test_a_checkpoint_of_another_config_is_refused_and_stays(tmp_path: Path) -> None:
    keeper, _ = keeper_of(tmp_path, [])
    keeper.keep_and_wait(state(2, settings="others"))
    with pytest.raises(TrainingError, match=r"made otherwise \(settings others -> mine\)"):
        keeper.restore(IDENTITY)
    assert (tmp_path / "place" / "step-00000002").exists()


def test_without_a_checkpoint_training_begins_at_its_start(tmp_path: Path) -> None:
    assert keeper_of(tmp_path, [])[0].restore(IDENTITY) is None


@pytest.mark.parametrize(("done", "clock", "due"), [(1, 0.0, False), (2, 0.0, True), (3, 1.0, True)])
def test_a_checkpoint_is_due_by_steps_or_by_the_first_ranks_clock(
    tmp_path: Path, done: int, clock: float, due: bool
) -> None:
    assert keeper_of(tmp_path, [])[0].due(done, (clock, 0.0)) is due


def test_the_clock_is_due_when_the_last_checkpoint_is_old(tmp_path: Path) -> None:
    assert keeper_of(tmp_path, [], minutes=1e-9)[0].said() == (1.0, 0.0)
    assert keeper_of(tmp_path, [], minutes=60.0)[0].said() == (0.0, 0.0)
    assert keeper_of(tmp_path, [])[0].said() == (0.0, 0.0)
