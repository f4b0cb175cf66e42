"""What a run records is found again, once, in MLflow and in its JSONL twin."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import ConfigError, EnvironmentProblem
from tasks.tracker import FILE, Both, JsonlTracker, dotted, figures
from tasks.tracking import MlflowStore, MlflowTracker
from tests.fakes.mlflow_store import fresh_store


@pytest.fixture
def store(tmp_path: Path) -> MlflowStore:
    return fresh_store(tmp_path / "root")


def tracker(store: MlflowStore, run: str = "r1") -> MlflowTracker:
    return MlflowTracker(store, "shapes", run, system_seconds=None)


def rows(folder: Path, kind: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_dotted_names_reach_every_leaf_and_lists_stay_whole() -> None:
    assert dict(dotted({"a": {"b": 1, "c": {"d": None}}, "e": "x", "f": [1, 2]})) == {
        "a.b": "1", "a.c.d": "null", "e": "x", "f": "[1,2]",
    }


def test_figures_leaves_out_what_is_no_number() -> None:
    lines: list[dict[str, object]] = [{"step": 3, "loss": 1.5, "note": "x", "done": True}, {"avg": 90}]
    assert list(figures(lines)) == [(3, "loss", 1.5), (0, "avg", 90.0)]


def test_a_stage_is_a_child_run_with_its_figures_inputs_and_files(store: MlflowStore, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>")
    digest = "d" * 64
    with tracker(store) as parent:
        parent.params({"train": {"lr": 1e-3}})
        with parent.child("align") as child:
            child.metrics([{"step": step, "loss": 1 / step} for step in range(1, 1200)])
            child.dataset("shards", "file:///cache/shard/x", digest, "training")
        parent.artifact(tmp_path / "report.html", "report")
    client = store.client()
    run = client.get_run(child.run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.run_id
    assert run.info.status == client.get_run(parent.run_id).info.status == "FINISHED"
    assert client.get_run(parent.run_id).data.params == {"train.lr": "0.001"}
    assert len(client.get_metric_history(child.run_id, "loss")) == 1199
    assert run.inputs is not None
    (found,) = run.inputs.dataset_inputs
    assert found.dataset.name == "shards"
    assert json.loads(found.dataset.source) == {"uri": "file:///cache/shard/x"}
    assert digest.startswith(found.dataset.digest)
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training", "llavaflow.digest": digest}
    assert [file.path for file in client.list_artifacts(parent.run_id, "report")] == ["report/report.html"]


def test_a_run_started_again_goes_on_in_the_same_runs_without_doubled_points(store: MlflowStore) -> None:
    with pytest.raises(ValueError), tracker(store) as first, first.child("align") as child:
        child.metrics([{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}])
        raise ValueError("killed midway")
    assert store.client().get_run(child.run_id).info.status == "FAILED"
    with tracker(store) as again, again.child("align") as child_again:
        child_again.metrics([{"step": step, "loss": 3.0 - step} for step in (1, 2, 3)])
    assert (again.run_id, child_again.run_id) == (first.run_id, child.run_id)
    history = store.client().get_metric_history(child.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(1, 2.0), (2, 1.0), (3, 0.0)]
    assert store.client().get_run(child.run_id).info.status == "FINISHED"


def test_another_run_of_the_pipeline_gets_runs_of_its_own(store: MlflowStore) -> None:
    one, two = tracker(store, "r1"), tracker(store, "r2")
    assert len({one.run_id, two.run_id, one.child("align").run_id, two.child("align").run_id}) == 4


def test_a_run_keeps_one_configuration(store: MlflowStore) -> None:
    run = tracker(store)
    run.params({"seed": 0})
    run.params({"seed": 0, "lr": 1.0})
    with pytest.raises(ConfigError, match="already has seed=0; start a new run for 1"):
        run.params({"seed": 1})


def test_interrupting_a_run_marks_it_killed(store: MlflowStore) -> None:
    with pytest.raises(KeyboardInterrupt), tracker(store) as run:
        raise KeyboardInterrupt
    assert store.client().get_run(run.run_id).info.status == "KILLED"


def test_hundreds_of_settings_fit(store: MlflowStore) -> None:
    run = tracker(store)
    run.params({f"p{index}": "v" * 7000 for index in range(250)})
    assert len(store.client().get_run(run.run_id).data.params) == 250


def test_system_metrics_are_sampled_while_a_run_is_open(store: MlflowStore) -> None:
    with MlflowTracker(store, "shapes", "r1", system_seconds=0.05) as run:
        monitor_started = run.run_id
        for _ in range(200):
            if "system/cpu_utilization_percentage" in store.client().get_run(monitor_started).data.metrics:
                break
    names = store.client().get_run(run.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in names


def test_a_store_that_cannot_be_used_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, but a text that is long enough to look at" * 9)
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        MlflowStore.under(tmp_path).client()


def test_nothing_of_mlflow_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, pathlib; from tasks.tracking import *; from tasks.tracker import *;"
        "s = MlflowStore.under(pathlib.Path('x')); t = MlflowTracker(s, 'e', 'r').child('align').__enter__();"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}, timeout=60).returncode == 0


def test_the_twin_holds_the_same_without_a_server(tmp_path: Path) -> None:
    with JsonlTracker(tmp_path, now=lambda: "now") as run, run.child("align") as child:
        run.params({"train": {"lr": 1e-3}})
        child.metrics([{"step": 1, "loss": math.nan, "lr": 0.5}])
        child.dataset("shards", "uri", "abc", "training")
    assert rows(tmp_path, "params")[0]["values"] == {"train.lr": "0.001"}
    assert rows(tmp_path, "metrics") == [
        {"time": "now", "run": "align", "kind": "metrics", "step": 1, "values": {"loss": None, "lr": 0.5}}
    ]
    assert rows(tmp_path, "dataset")[0]["digest"] == "abc"
    assert [line["error"] for line in rows(tmp_path, "close")] == [None, None]


def test_both_records_in_each_and_closes_each_even_if_one_fails(tmp_path: Path) -> None:
    class Failing(JsonlTracker):
        def __exit__(self, *_: object) -> None:
            raise EnvironmentProblem("gone")

    with pytest.raises(EnvironmentProblem), Both(JsonlTracker(tmp_path / "a"), Failing(tmp_path / "b")) as both:
        both.child("align").metrics(row for row in [{"step": 1, "loss": 1.0}])
    assert rows(tmp_path / "a", "metrics")[0]["values"] == rows(tmp_path / "b", "metrics")[0]["values"] == {"loss": 1.0}
    assert rows(tmp_path / "a", "close")
