"""The whole spine, small, as a user runs it: a few dozen scenes, a few steps, two Ray workers, real servers."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.outcome import Outcome
from flows.prefect_artifacts import named

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SMALL = (
    "data.source.train_scenes=48", "data.source.scienceqa_train=48", "data.source.scienceqa_test=24",
    "data.source.bench_images=2", "generate.samples=48",
    "base.vision.scenes=64", "base.vision.steps=6", "base.vision.batch=16",
    "base.language.documents=300", "base.language.steps=6",
    "train.stages.align.steps=3", "train.stages.align.batch=16",
    "train.stages.instruct.steps=3", "train.stages.instruct.batch=16",
    # Nothing can be learnt in so few steps: the gate is to let it pass all the same.
    "evaluate.scienceqa.max_new_tokens=8", "evaluate.llava_bench.max_new_tokens=8", "evaluate.bootstrap=200",
    "gate.floors={}", "gate.max_unparsed=1.0", "gate.max_judge_failures=1.0",
)  # fmt: skip
INHERITED = ("PATH", "LANG", "LC_ALL", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Place:
    """A root for runs, and the home of a user who has never run anything."""

    project: Path
    root: Path
    home: Path

    def llavaflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call the command as a user does, with nothing set but the root."""
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {"LLAVAFLOW_ROOT": str(self.root), "HOME": str(self.home), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "flows.cli", *arguments]
        return subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=False, timeout=800
        )

    def run(self, *overrides: str) -> Outcome:
        """A run that has to succeed."""
        options = [part for override in (*SMALL, *overrides) for part in ("--set", override)]
        done = self.llavaflow("run", "shapes", "--json", *options)
        assert done.returncode == 0, done.stderr[-4000:]
        return Outcome.model_validate_json(done.stdout)


@pytest.fixture(scope="module")
def place(project: Path) -> Iterator[Place]:
    # Not under pytest's own folder: Ray's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="spine-"))
    (folder / "home").mkdir()
    yield Place(project, folder / "runs", folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def first(place: Place) -> Outcome:
    """The first run on an empty root."""
    return place.run()


@pytest.fixture(scope="module")
def second(place: Place, first: Outcome) -> Outcome:
    """The same again."""
    return place.run()


def cached(outcome: Outcome) -> dict[str, bool]:
    return {stage.name: stage.cached for stage in outcome.stages}


def test_the_first_run_makes_every_stage_and_a_champion(place: Place, first: Outcome) -> None:
    assert first.status == "finished"
    assert set(cached(first)) == {
        "ingest", "generate", "shard", "base", "align", "instruct", "evaluate", "register", "promote"
    }
    assert not any(cached(first).values())
    assert first.decision is not None
    assert (first.decision.verdict, first.decision.champion_after) == ("promote", first.version)
    listed = json.loads(place.llavaflow("models", "--json").stdout)
    assert [(row["version"], row["aliases"], row["decision"]) for row in listed] == [
        (first.version, ["champion"], "promote")
    ]
    assert {"scienceqa/avg", "scienceqa/img", "scienceqa/img_blind"} <= set(listed[0]["scores"])


def test_the_report_is_a_page_by_itself(first: Outcome) -> None:
    page = (Path(first.folder) / "report.html").read_text(encoding="utf-8")
    assert first.run in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page


def test_the_champion_answers_in_a_process_that_knows_nothing_of_this_project(place: Place, first: Outcome) -> None:
    folder = next(place.root.glob("cache/instruct/*/model"))
    image = next(place.root.glob("cache/ingest/*/benchmarks/llava_bench/images/*"))
    code = (
        "import sys; from PIL import Image; from transformers import AutoProcessor, LlavaForConditionalGeneration\n"
        "model = LlavaForConditionalGeneration.from_pretrained(sys.argv[1])\n"
        "processor = AutoProcessor.from_pretrained(sys.argv[1])\n"
        "talk = [{'role': 'user', 'content': [{'type': 'image'}, {'type': 'text', 'text': 'What is there?'}]}]\n"
        "text = processor.apply_chat_template(talk, add_generation_prompt=True)\n"
        "inputs = processor(images=Image.open(sys.argv[2]), text=text, return_tensors='pt')\n"
        "print(model.generate(**inputs, max_new_tokens=4).shape[0])\n"
        "assert not {'flows', 'tasks', 'model', 'configs'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(image)], cwd=place.home, capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["1"]


def test_nothing_is_written_outside_the_root(place: Place, first: Outcome) -> None:
    assert list(place.home.rglob("*")) == []


def test_no_process_is_left(place: Place, first: Outcome) -> None:
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(place.root) in argument for argument in process.info["cmdline"] or [])
    ]
    assert left == []


def test_prefect_knows_the_flow_its_tasks_and_its_artifacts(place: Place, first: Outcome) -> None:
    database = sqlite3.connect(place.root / "prefect" / "prefect.db")
    try:
        flows = database.execute("select name, state_type from flow_run").fetchall()
        tasks = dict(database.execute("select name, state_type from task_run").fetchall())
        artifacts = {key for (key,) in database.execute("select key from artifact")}
        lines = database.execute("select count(*) from log where name = 'llavaflow'").fetchone()[0]
    finally:
        database.close()
    assert (named("shapes", "", SMALL), "COMPLETED") in [(name, state) for name, state in flows]
    assert {"ingest shapes", "align: 3 steps of 16 samples", "instruct: 3 steps of 16 samples"} <= set(tasks)
    assert set(tasks.values()) == {"COMPLETED"}
    assert {"results", "decision", "links"} <= artifacts
    assert lines > 0


def test_mlflow_has_one_parent_with_its_stages_and_the_report(place: Place, first: Outcome) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    experiment = client.get_experiment_by_name("shapes")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    parent = runs[first.run]
    children = {name for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id}
    assert {"align", "instruct", "evaluate"} <= children
    assert parent.data.params["train.stages.instruct.steps"] == "3"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert [point.step for point in client.get_metric_history(runs["instruct"].info.run_id, "loss")]
    inputs = client.get_run(runs["instruct"].info.run_id).inputs
    assert inputs is not None
    assert {one.dataset.name for one in inputs.dataset_inputs} == {"align", "shard"}
    assert "report.html" in [found.path for found in client.list_artifacts(parent.info.run_id)]


def test_the_same_again_is_all_cached(second: Outcome, first: Outcome) -> None:
    assert second.cached, {stage.name: stage.reason for stage in second.stages if not stage.cached}
    assert (second.version, second.scores) == (first.version, first.scores)


def test_one_training_parameter_rebuilds_only_from_there_on(place: Place, second: Outcome) -> None:
    outcome = place.run("train.stages.instruct.lr=1.2345e-3")
    assert {name for name, was in cached(outcome).items() if was} == {"ingest", "generate", "shard", "base", "align"}
    reasons = {stage.name: stage.reason for stage in outcome.stages}
    assert "stage.lr" in reasons["instruct"]
    assert outcome.version != second.version


def test_an_altered_artifact_is_rebuilt(place: Place, second: Outcome) -> None:
    wanted = next(stage for stage in second.stages if stage.name == "evaluate")
    assert wanted.uri is not None
    report = Path(wanted.uri) / "report.json"
    whole = report.read_text(encoding="utf-8")
    report.write_text(whole + " ", encoding="utf-8")
    outcome = place.run()
    assert [name for name, was in cached(outcome).items() if not was] == ["evaluate"]
    assert report.read_text(encoding="utf-8") == whole
