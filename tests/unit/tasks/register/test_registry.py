"""A registered version says where it comes from, is registered once, and serves without this project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import JsonValue

from configs.schema import GateConfig, RegistryConfig
from configs.settings import Settings
from flows.desk import desk_of
from tasks.artifacts import ModelVersion
from tasks.errors import RegistryError
from tasks.progress import Silent
from tasks.register.registry import MlflowRegistry
from tasks.register.run import Material, judge_model, promote_model, register_model
from tasks.register.version import Candidate, score_tags, scores_of
from tasks.tracking import MlflowTracker
from tests.fakes.evaluations import digest_of_name, evaluation
from tests.fakes.mlflow_store import fresh_store
from tests.fakes.tiny_llava import save_tiny_llava

CONFIG: dict[str, JsonValue] = {
    "data": {"source": {"kind": "shapes"}},
    "train": {"stages": {"align": {"lr": 1e-3, "steps": 5}}},
}
PLAIN = RegistryConfig(canary=0)


@pytest.fixture
def registry(tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(fresh_store(tmp_path / "root"), "llavaflow", "champion")


def candidate(registry: MlflowRegistry, name: str) -> Candidate:
    run = MlflowTracker(registry.store, "shapes", f"run-{name}", system_seconds=None)
    return Candidate(
        experiment="shapes", run=f"run-{name}", run_id=run.run_id, checkpoint=digest_of_name(f"checkpoint {name}"),
        evaluation=digest_of_name(f"evaluation {name}"), git_commit="abc", git_dirty=True, data={"images": "d1"},
    )


def checkpoint(folder: Path) -> Path:
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(b"weights")
    return folder


def registered(
    registry: MlflowRegistry, known: Candidate, model: Path, folder: Path, knobs: RegistryConfig = PLAIN
) -> ModelVersion:
    material = Material(model, str(model), folder, "Shapes.", CONFIG)
    return register_model(registry, known, material, knobs, Silent())


def packed(registry: MlflowRegistry, version: str = "1") -> Path:
    """The folder of a version whose weights are copied."""
    return Path(registry.weights(version).removeprefix("file://")).parent.parent


def test_a_version_carries_scores_origin_and_evidence(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "evaluation", questions=40, right=lambda index: index % 4 > 0, bench=6)
    known = candidate(registry, "a")
    version = registered(registry, known, checkpoint(tmp_path / "checkpoint"), folder)
    (row,) = registry.rows()
    assert version.version == row["version"] == "1" and row["aliases"] == [] and row["decision"] is None
    assert (row["experiment"], row["run"], row["run_id"]) == ("shapes", "run-a", known.run_id)
    scores = row["scores"]
    assert isinstance(scores, dict)
    assert scores["scienceqa/avg"] == scores["scienceqa/img"] == 75.0 and scores["scienceqa/img_blind"] == 25.0
    tags = registry.store.client().get_model_version("llavaflow", "1").tags
    assert tags["llavaflow.data.images"] == "d1" and tags["llavaflow.git_dirty"] == "true"
    evidence = registry.evidence("1")
    assert (evidence.checkpoint, evidence.evaluation) == (known.checkpoint, known.evaluation)
    assert len(evidence.benchmarks["scienceqa"].cases) == 40


def test_the_same_model_and_evaluation_are_registered_once(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder, model = evaluation(tmp_path / "evaluation", questions=8), checkpoint(tmp_path / "checkpoint")
    first = registered(registry, candidate(registry, "a"), model, folder)
    again = registered(registry, candidate(registry, "a"), model, folder)
    other = registered(registry, candidate(registry, "b"), model, folder)
    assert first == again and other.version == "2"
    assert [row["version"] for row in registry.rows()] == ["2", "1"]


def test_what_lies_in_a_version(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "evaluation", questions=8, pictures=True)
    model = checkpoint(tmp_path / "checkpoint")
    (model / "model").rename(model / "weights")
    (model / "model").symlink_to(model / "weights")
    version = registered(registry, candidate(registry, "a"), model, folder)
    home = packed(registry, version.version)
    files = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert {"MLmodel", "pyfunc_model.py", "artifacts/model/model.safetensors", "model_card.md"} <= files
    assert {"evaluation/report.json", "evaluation/examples/scienceqa.jsonl"} <= files
    assert not [file for file in files if file.endswith((".pkl", ".pickle", ".png"))]
    requirements = (home / "requirements.txt").read_text()
    assert "transformers==" in requirements and "+cpu" not in requirements
    card = (home / "model_card.md").read_text()
    assert "| avg | 100.0 |" in card and "coloured shapes" in card and "train.stages.align.lr = 0.001" in card


def test_an_evaluation_altered_after_registration_is_refused(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "evaluation", questions=8)
    registered(registry, candidate(registry, "a"), checkpoint(tmp_path / "c"), folder)
    home = packed(registry)
    examples = home / "evaluation" / "examples" / "scienceqa.jsonl"
    examples.write_text(examples.read_text().replace('"wrong"', '"right"') + "\n")
    with pytest.raises(RegistryError, match="was altered after it was registered"):
        registry.evidence("1")


def test_what_mlflow_refuses_is_one_line(registry: MlflowRegistry) -> None:
    with pytest.raises(RegistryError, match="did not fetch the evaluation of version 7") as caught:
        registry.evidence("7")
    assert "\n" not in str(caught.value)
    assert registry.champion() is None and registry.rows() == []


def test_long_scores_go_into_several_tags() -> None:
    scores = {f"benchmark/row-{index:04d}": index / 7 for index in range(900)}
    tags = score_tags(scores)
    assert len(tags) > 2 and max(map(len, tags.values())) <= 5000
    assert scores_of(tags) == {name: round(value, 4) for name, value in scores.items()}
    assert scores_of({}) == {}


def test_first_champion_then_a_worse_one_held_then_a_better_one(registry: MlflowRegistry, tmp_path: Path) -> None:
    model, gate = checkpoint(tmp_path / "checkpoint"), GateConfig(floors={"scienceqa/avg": 50.0})
    desk = desk_of(Settings(root=tmp_path / "root"), registry, run="r")

    def go(name: str, wrong_every: int) -> tuple[str, str | None]:
        folder = evaluation(tmp_path / name, questions=200, right=lambda index: index % wrong_every > 0)
        version = registered(registry, candidate(registry, name), model, folder)
        done = promote_model(desk, version, judge_model(registry, version, folder, gate, 0), Silent())
        return done.verdict, done.champion_after

    assert go("first", 4) == ("promote", "1")
    assert go("worse", 3) == ("hold", "1")
    assert go("better", 20) == ("promote", "3")
    assert go("better", 20) == ("promote", "3")
    rows = {row["version"]: row for row in registry.rows()}
    assert {version: (row["decision"], row["aliases"]) for version, row in rows.items()} == {
        "1": ("promote", []), "2": ("hold", []), "3": ("promote", ["champion"]),
    }
    assert [record.event for record in desk.audit.records()] == ["intent", "done", "held", "intent", "done"]


OUTSIDE = """
import base64, io, json, sys
import mlflow, pandas
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

model = mlflow.pyfunc.load_model(sys.argv[1])
buffer = io.BytesIO()
Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
rows = {"image": [base64.b64encode(buffer.getvalue()).decode(), ""], "prompt": ["Which colour?", "And now?"]}
answers = model.predict(pandas.DataFrame(rows), params={"max_new_tokens": 4})
plain = LlavaForConditionalGeneration.from_pretrained(sys.argv[1] + "/artifacts/model")
processor = AutoProcessor.from_pretrained(sys.argv[1] + "/artifacts/model")
try:
    model.predict(pandas.DataFrame({"image": ["no base64!"], "prompt": ["?"]}))
    refused = ""
except ValueError as error:
    refused = str(error)
ours = [name for name in sys.modules if name.split(".")[0] in {"tasks", "flows", "model", "configs"}]
print(json.dumps({"answers": answers, "refused": refused, "ours": ours, "kind": type(processor).__name__}))
"""


@pytest.mark.slow
def test_a_version_answers_where_nothing_of_this_project_is(registry: MlflowRegistry, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "evaluation", questions=8)
    save_tiny_llava(tmp_path / "checkpoint" / "model")
    registered(registry, candidate(registry, "a"), tmp_path / "checkpoint", folder)
    home = packed(registry)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", OUTSIDE, str(home)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["answers"]) == 2 and all(isinstance(answer, str) for answer in found["answers"])
    assert "base64" in found["refused"] and found["kind"] == "LlavaProcessor" and found["ours"] == []
