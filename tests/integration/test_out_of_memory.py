"""A worker that runs out of memory in a step: rows get shorter on all ranks, nothing hangs, the result is the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.stages import Stage
from tasks.stages import Built
from tasks.train.cluster import RaySettings
from tasks.train.prepare import Inputs
from tasks.train.run import Around, build_checkpoint
from tests.fakes.scarce import LONGEST, train_where_rows_must_be_short
from tests.integration.test_workers_change import cluster as cluster
from tests.integration.test_workers_change import experiment
from tests.integration.test_workers_change import parts as parts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

STEPS = 6


class Notes:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, done: int, total: int, **shown: float | str) -> None:
        """Figures are of no interest here."""

    def note(self, message: str) -> None:
        """Keep it."""
        self.notes.append(message)


def built(
    name: str, tmp_path: Path, parts: tuple[Path, Path], cluster: RaySettings, notes: Notes
) -> Built:
    whole = experiment(2)
    align = whole.train.stages.align.model_copy(
        update={"steps": STEPS, "batch": 8, "checkpoint_every": 2, "row_tokens": 400}
    )
    stages = whole.train.stages.model_copy(update={"align": align})
    made = whole.model_copy(update={"train": whole.train.model_copy(update={"stages": stages})})
    (folder := tmp_path / name).mkdir()
    return build_checkpoint(
        folder, Stage.ALIGN, Inputs(*parts), made, Around(tmp_path / f"{name}-work", cluster, notes)
    )


def test_rows_get_shorter_until_they_fit_and_the_curve_is_that_of_a_larger_device(
    tmp_path: Path, parts: tuple[Path, Path], cluster: RaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    built("large", tmp_path, parts, cluster, Notes())
    monkeypatch.setattr("tasks.train.worker.train_loop_per_worker", train_where_rows_must_be_short)
    notes = Notes()
    small = built("small", tmp_path, parts, cluster, notes)

    halved = small.facts["out_of_memory"]
    assert isinstance(halved, list) and halved
    assert isinstance(small.facts["row_tokens"], int) and small.facts["row_tokens"] <= LONGEST
    assert any("ran out of memory on rank 1: rows of" in note for note in notes.notes)
    curves = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("small", "large")
    ]
    assert len(curves[0]) == STEPS
    np.testing.assert_allclose(curves[0], curves[1], atol=1e-4)
