from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
import yaml

from configs.load import load_experiment
from configs.settings import Settings
from flows import run as run_module
from flows.outcome import Outcome
from flows.places import mlflow_of, storage_of, store_of, withdrawn_of
from flows.run import Run, new_folder, open_run
from flows.shown import Stopped
from tasks.artifacts import ConversationSet, ImageSet
from tasks.errors import ConfigError, DataError
from tasks.progress import Progress
from tasks.stages import Build, Built, StageSpec
from tests.fakes.tracked import Tracked

CODE = ("tasks/progress.py",)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LLAVAFLOW_ROOT", str(tmp_path))
    monkeypatch.setattr(run_module, "Tracked", Tracked)
    monkeypatch.setattr(run_module, "prepare_environment", lambda settings: None)
    monkeypatch.setattr(run_module, "warm_up", lambda settings: pytest.fail("nothing here is trained"))
    yield tmp_path


def images(config: int = 1) -> StageSpec[ImageSet]:
    return StageSpec("ingest", ImageSet, CODE, {"knob": config})


def conversations(parent: ImageSet, config: int = 1) -> StageSpec[ConversationSet]:
    return StageSpec("generate", ConversationSet, CODE, {"knob": config}, {"ingest": parent})


def writes(text: str, counted: list[str] | None = None) -> Build:
    def build(folder: Path, progress: Progress) -> Built:
        if counted is not None:
            counted.append(text)
        (folder / "file.txt").write_text(text)
        return Built({"images": 3}, {"usd_spent": 0.5})

    return build


def two_stages(text: str = "a", config: int = 1, own: int = 1) -> Outcome:
    """A run of two stages, the second made from the first."""
    with open_run("shapes") as run:
        parent = run.make(images(config), writes(text))
        run.make(conversations(parent, own), writes("b"))
    assert run.outcome is not None
    return run.outcome


def cached(outcome: Outcome) -> dict[str, bool]:
    return {stage.name: stage.cached for stage in outcome.stages}


def artifact_file(root: Path, stage: str) -> Path:
    return next((root / "cache" / stage).glob("*/file.txt"))


def test_a_run_leaves_its_config_log_events_and_result(root: Path) -> None:
    outcome = two_stages()
    folder = Path(outcome.folder)
    assert {path.name for path in folder.iterdir()} == {"config.yaml", "run.log", "events.jsonl", "result.json"}
    assert load_experiment(str(folder / "config.yaml")) == load_experiment("shapes")
    assert yaml.safe_load((folder / "config.yaml").read_text())["id"] == "shapes"
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "stage", "stage"]
    assert Outcome.model_validate_json((folder / "result.json").read_text()) == outcome
    assert "generate" in (folder / "run.log").read_text()


def test_the_same_again_is_cached() -> None:
    assert cached(two_stages()) == {"ingest": False, "generate": False}
    again = two_stages()
    assert cached(again) == {"ingest": True, "generate": True}
    assert again.cached


def test_a_changed_stage_is_made_again_and_its_parent_is_not() -> None:
    two_stages()
    outcome = two_stages(own=2)
    assert cached(outcome) == {"ingest": True, "generate": False}
    assert outcome.stages[1].reason == "changed: config knob 1 -> 2"


def test_a_parent_that_comes_out_the_same_makes_nothing_again() -> None:
    two_stages()
    assert cached(two_stages(config=2)) == {"ingest": False, "generate": True}


def test_a_parent_that_comes_out_otherwise_makes_its_children_again() -> None:
    two_stages()
    outcome = two_stages(text="other", config=2)
    assert cached(outcome) == {"ingest": False, "generate": False}
    assert outcome.stages[1].reason == "changed: parent ingest"


@pytest.mark.parametrize("hurt", [lambda file: file.write_text("x"), Path.unlink], ids=["altered", "deleted"])
def test_a_damaged_artifact_is_made_again(root: Path, hurt: Callable[[Path], None]) -> None:
    two_stages()
    hurt(artifact_file(root, "ingest"))
    outcome = two_stages()
    assert cached(outcome) == {"ingest": False, "generate": True}
    assert "damaged" in outcome.stages[0].reason


def test_a_failure_is_in_the_result_and_its_trace_in_the_log(root: Path) -> None:
    def fails(folder: Path, progress: Progress) -> Built:
        raise DataError("the data are gone")

    with pytest.raises(DataError), open_run("shapes") as run:
        run.make(images(), writes("a"))
        run.make(StageSpec("generate", ConversationSet, CODE, 0), fails)
    assert run.outcome is not None
    assert (run.outcome.status, run.outcome.error) == ("failed", "the data are gone")
    assert [stage.name for stage in run.outcome.stages] == ["ingest"], "what was finished stays"
    log = (run.folder / "run.log").read_text()
    assert "Traceback" in log and "the data are gone" in log
    assert cached(two_stages())["ingest"] is True


def test_an_interrupted_run_says_so() -> None:
    with pytest.raises(KeyboardInterrupt), open_run("shapes") as run:
        raise KeyboardInterrupt
    assert run.outcome is not None
    assert run.outcome.status == "interrupted"


def test_a_stage_beside_one_that_failed_hears_that_it_is_over() -> None:
    heard = threading.Event()

    def endless(folder: Path, progress: Progress) -> Built:
        try:
            for step in range(100_000):
                progress.update(step, 100_000)
                heard.wait(0.001)
        except Stopped:
            heard.set()
            raise
        return Built()

    def beside(run: Run) -> None:
        with pytest.raises(Stopped):
            run.make(images(), endless)

    with pytest.raises(DataError), open_run("shapes") as run:
        thread = threading.Thread(target=beside, args=(run,))
        thread.start()
        with run.ending_early():
            raise DataError("another stage failed")
    thread.join(10)
    assert heard.is_set()


def test_an_open_run_is_the_one_that_a_flow_gets() -> None:
    with open_run("shapes") as outer, open_run("shapes", ["seed=9"]) as inner:
        assert inner is outer


def test_an_experiment_that_does_not_resolve_leaves_nothing(root: Path) -> None:
    with pytest.raises(ConfigError), open_run("shapes", ["train.stages.instruct.lrr=1"]):
        pass
    assert list(root.iterdir()) == []


def test_runs_that_begin_at_once_have_folders_of_their_own(root: Path) -> None:
    with open_run("shapes") as run:
        other = new_folder(root, run.experiment, run.started)
    assert other != run.folder
    assert other.name.startswith(run.id)


def test_a_step_is_recorded_with_what_it_found() -> None:
    with open_run("shapes") as run:
        with run.step("register") as step:
            step.made("version 3")
            step.found("it is registered already")
        with run.step("promote") as step:
            step.made("hold")
    told = {name: (record.cached, record.detail) for name, record in run.records.items()}
    assert told == {"register": (True, "version 3"), "promote": (False, "hold")}


def test_a_stage_s_work_folder_is_the_same_after_a_crash_and_another_for_another_key() -> None:
    with open_run("shapes") as run:
        first = run.work(images(1))
    with open_run("shapes") as run:
        assert run.work(images(1)) == first
        assert run.work(images(2)) != first


def test_settings_name_the_store(tmp_path: Path) -> None:
    assert store_of(Settings(root=tmp_path)).root == f"{tmp_path}/cache"
    assert store_of(Settings(root=tmp_path, store="s3://bucket/prefix")).remote


def test_a_storage_moves_everything_that_outlives_a_run(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, storage="s3://bucket/team/")
    assert store_of(settings).root == "s3://bucket/team/cache"
    assert mlflow_of(settings).artifacts == "s3://bucket/team/mlflow"
    assert withdrawn_of(settings).journal.place == "s3://bucket/team/withdrawn"
    assert storage_of(settings, "work") == "s3://bucket/team/work"


def test_an_ended_run_s_folder_lies_in_the_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVAFLOW_STORAGE", "memory://bucket/team")
    with open_run("shapes") as run:
        pass
    memory = fsspec.filesystem("memory")
    told = {path.rsplit("/", 1)[1]: memory.cat_file(path) for path in memory.find(f"/bucket/team/runs/{run.id}")}
    memory.rm("/bucket", recursive=True)
    assert told == {path.name: path.read_bytes() for path in run.folder.iterdir()}
    assert "result.json" in told


def test_a_storage_out_of_reach_does_not_fail_a_run_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAVAFLOW_STORAGE", "nosuch://bucket/team")
    with open_run("shapes") as run:
        pass
    assert f"copy {run.folder} there by hand" in (run.folder / "events.jsonl").read_text()
