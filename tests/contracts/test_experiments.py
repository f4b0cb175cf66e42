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


def test_scienceqa_is_the_papers_twelve_epochs_from_where_align_ended() -> None:
    loaded = load_experiment("scienceqa_13b")
    instruct = loaded.train.stages.instruct
    assert (instruct.epochs, instruct.steps, instruct.batch, instruct.lr) == (12, None, 32, 2e-5)
    assert loaded.shard.scienceqa_format == "QCM-LEPA"
    asked = loaded.evaluate.scienceqa
    assert asked is not None and (asked.prompt_format, asked.answering) == ("QCM-LEPA", "two_pass")
    # No instruction data: what stage instruct reads, from the checkpoint of align, is ScienceQA alone.
    assert loaded.generate.samples == 0
    assert [source.kind for source in loaded.data.sources if getattr(source, "stage", None) != "align"] == ["scienceqa"]


def test_lora_is_the_published_recipe() -> None:
    plain, lora = load_experiment("llava_v1_5_7b"), load_experiment("llava_v1_5_7b_lora")
    told = lora.train.lora
    assert told is not None
    assert (told.r, told.alpha, told.dropout, told.targets) == (128, 256.0, 0.05, "all-linear")
    instruct = lora.train.stages.instruct
    assert (instruct.lr, instruct.projector_lr, instruct.batch) == (2e-4, 2e-5, 128)
    assert lora.train.stages.align == plain.train.stages.align
    assert (lora.data, lora.base, lora.evaluate) == (plain.data, plain.base, plain.evaluate)
