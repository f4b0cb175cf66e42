"""Every experiment that ships loads, names itself by its file, and fixes a world that runs can be compared on."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load_experiment

EXPERIMENTS = Path(__file__).resolve().parents[2] / "configs" / "experiments"
IDS = sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def test_the_default_experiment_is_there() -> None:
    assert "shapes" in IDS


@pytest.mark.parametrize("experiment_id", IDS)
def test_experiment_loads_under_the_name_of_its_file(experiment_id: str) -> None:
    assert load_experiment(experiment_id).id == experiment_id


@pytest.mark.parametrize("experiment_id", IDS)
def test_experiment_names_no_path_of_a_machine(experiment_id: str) -> None:
    text = (EXPERIMENTS / f"{experiment_id}.yaml").read_text(encoding="utf-8")
    assert not any(sign in text for sign in ("/home/", "/root/", "/Users/", "/mnt/", "~/"))


@pytest.mark.parametrize("experiment_id", IDS)
def test_the_run_s_seed_can_be_set_and_changes_nothing_else(experiment_id: str) -> None:
    plain, seeded = load_experiment(experiment_id), load_experiment(experiment_id, ["seed=12345"])
    assert seeded == plain.model_copy(update={"seed": 12345})
