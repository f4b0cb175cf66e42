"""What people and outages do to a registry is noticed, told in a line, and never makes two champions."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pydantic import JsonValue

from configs.schema import GateConfig, RegistryConfig
from configs.settings import Settings
from flows.desk import desk_of
from tasks.artifacts import ModelVersion
from tasks.errors import LlavaflowError, RegistryError
from tasks.progress import Silent
from tasks.register.promote import promote, rollback
from tasks.register.registry import MlflowRegistry
from tasks.register.run import Anew, Material, incomparable_champion, judge_model, register_model
from tasks.register.settle import history
from tasks.register.verdict import Reason, Verdict
from tasks.register.version import Candidate
from tasks.tracking import MlflowStore, MlflowTracker
from tests.fakes.evaluations import SETTINGS, digest_of_name, evaluation
from tests.fakes.mlflow_store import fresh_store

YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
CONFIG: dict[str, JsonValue] = {"data": {"source": {"kind": "shapes"}}}


@pytest.fixture
def registry(tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(fresh_store(tmp_path / "root"), "llavaflow", "champion")


def register(registry: MlflowRegistry, tmp_path: Path, name: str, folder: Path) -> ModelVersion:
    model = tmp_path / "checkpoint" / "model"
    model.mkdir(parents=True, exist_ok=True)
    (model / "model.safetensors").write_bytes(b"weights")
    run = MlflowTracker(registry.store, "shapes", f"run-{name}", system_seconds=None)
    known = Candidate(
        experiment="shapes", run=f"run-{name}", run_id=run.run_id, checkpoint=digest_of_name(f"checkpoint {name}"),
        evaluation=digest_of_name(f"evaluation {name}"),
    )
    material = Material(model.parent, str(model.parent), folder, "Shapes.", CONFIG)
    return register_model(registry, known, material, RegistryConfig(canary=0), Silent())


def test_a_champion_deleted_by_hand_is_noticed_and_the_next_model_is_a_first_one(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    for name in "abc":
        register(registry, tmp_path, name, evaluation(tmp_path / name, questions=8))
    desk = desk_of(Settings(root=tmp_path / "root"), registry, run="r")
    promote(desk, "1", YES, None)
    promote(desk, "2", YES, "1")
    registry.store.client().delete_model_version("llavaflow", "2")
    assert registry.champion() is None
    last = history(desk)[-1]
    assert (last.event, last.before, last.after, last.reasons) == ("moved", "2", None, ("moved by other means",))
    assert promote(desk, "3", YES, None).champion_after == "3"
    with pytest.raises(RegistryError, match="did not move the alias champion to version 2"):
        rollback(desk, to="2")
    assert registry.champion() == "3"
    assert promote(desk, "3", YES, "3").champion_after == "3"
    assert [record.event for record in history(desk)][-2:] == ["intent", "abandoned"]


def test_a_model_deleted_by_hand_with_all_versions_starts_anew(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", questions=8)
    register(registry, tmp_path, "a", folder)
    registry.store.client().delete_registered_model("llavaflow")
    assert registry.champion() is None and registry.rows() == []
    assert register(registry, tmp_path, "a", folder).version == "1"


def test_a_server_that_does_not_answer_is_one_line_at_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gone = MlflowRegistry(MlflowStore(f"http://127.0.0.1:{port}"), "llavaflow", "champion")
    steps = (
        gone.champion, gone.rows, lambda: gone.set_champion("1"), lambda: gone.set_champion(None),
        lambda: gone.evidence("1"), lambda: gone.canary("1"), lambda: gone.weights("1"),
        lambda: gone.tag("1", {"decision": "hold"}), lambda: gone.fetch_weights("1", tmp_path / "weights"),
    )
    for step in steps:
        with pytest.raises(LlavaflowError) as caught:
            step()
        assert "\n" not in str(caught.value) and "127.0.0.1" in str(caught.value)


def test_a_champion_measured_by_other_rules_is_found_and_compared_by_the_present_ones(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    old = evaluation(tmp_path / "old", questions=200, settings={**SETTINGS, "rule": "lenient"})
    new = evaluation(tmp_path / "new", questions=200)
    anew = evaluation(tmp_path / "anew", questions=200, right=lambda index: index % 20 > 0)
    register(registry, tmp_path, "a", old)
    version = register(registry, tmp_path, "b", new)
    assert incomparable_champion(registry, version, new) is None, "there is no champion yet"
    registry.set_champion("1")
    assert incomparable_champion(registry, version, new) == "1"
    without = judge_model(registry, version, new, GateConfig(), 0)
    assert {reason.check for reason in without.verdict.reasons if not reason.ok} == {"rules"}
    judged = judge_model(registry, version, new, GateConfig(), 0, anew=Anew("1", "digest", anew))
    assert judged.verdict.verdict == "promote" and judged.champion_scores["scienceqa/avg"] == 95.0
    assert judged.verdict.sentences()[-1] == "version 1 was evaluated anew by the present rules"
    # An evaluation of a version that is the champion no more is of no use.
    moved = judge_model(registry, version, new, GateConfig(), 0, anew=Anew("7", "digest", anew))
    assert moved.verdict.verdict == "hold"
    registry.set_champion("2")
    assert incomparable_champion(registry, version, new) is None, "it is the champion itself"
