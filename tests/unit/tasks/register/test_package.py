"""What lies in a version: no pickle, its whole origin, a canary that is asked again, weights or a link to them."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.load import load_experiment
from configs.schema import RegistryConfig
from configs.settings import Settings
from flows.desk import desk_of
from tasks.artifacts import Checkpoint, EvalReport, MadeBy, ModelVersion, Promotion
from tasks.errors import RegistryError
from tasks.progress import Silent
from tasks.register.canary import choose
from tasks.register.card import Subject, model_card
from tasks.register.desk import Desk
from tasks.register.evidence import read_evidence
from tasks.register.promote import promote
from tasks.register.provenance import Provenance, provenance_of
from tasks.register.registry import MlflowRegistry
from tasks.register.run import Material, check_champion, register_model
from tasks.register.settle import history
from tasks.register.shown import read_shown
from tasks.register.verdict import Reason, Verdict
from tasks.register.version import Candidate
from tasks.tracking import MlflowTracker
from tests.fakes.evaluations import digest_of_name, evaluation
from tests.fakes.mlflow_store import fresh_store
from tests.fakes.tiny_llava import save_tiny_llava

YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
MADE = MadeBy(
    stage="align", code="c" * 64, config="f" * 64, libraries={"torch": "2.0"}, git_commit="abc", git_dirty=False,
    created="2026-11-22T12:00:00+00:00", seconds=1800.0,
)
SUFFIXES = {"", ".json", ".jsonl", ".jinja", ".md", ".py", ".safetensors", ".txt", ".yaml"}
SHAPES = load_experiment("shapes").model_dump(mode="json")


def provenance(config: dict[str, Any] = SHAPES, project: Path = Path("/nowhere")) -> Provenance:
    made = {"uri": "/store/x", "digest": "d" * 64, "key": "k", "parents": {"shard": "s"}, "made_by": MADE}
    trained = Checkpoint(**made)
    judged = EvalReport(**made, facts={"usd_spent": 0.25})
    return provenance_of({"align": trained, "instruct": trained, "evaluate": judged}, config, {"Machine": "2 cores"},
                         project, devices=2)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_llava(folder / "model")
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> MlflowRegistry:
    return MlflowRegistry(fresh_store(tmp_path / "root"), "llavaflow", "champion")


def register(
    registry: MlflowRegistry, model: Path, folder: Path, name: str = "a", **knobs: Any
) -> ModelVersion:
    run = MlflowTracker(registry.store, "shapes", f"run-{name}", system_seconds=None)
    known = Candidate(
        experiment="shapes", run=f"run-{name}", run_id=run.run_id, checkpoint=digest_of_name(f"checkpoint {name}"),
        evaluation=digest_of_name(f"evaluation {name}"), config="9" * 64, provenance=provenance(),
    )
    material = Material(model, str(model), folder, "Shapes.", SHAPES)
    return register_model(registry, known, material, RegistryConfig(**{"canary": 0, **knobs}), Silent())


def home_of(registry: MlflowRegistry, version: str) -> Path:
    """The local folder of a version."""
    client = registry.store.client()
    return Path(client.get_model_version_download_uri(registry.name, version).removeprefix("file://"))


# ---------------------------------------------------------------------------------------------------- origin


def test_nothing_in_a_version_is_a_pickle_and_the_weights_are_safetensors(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    version = register(registry, checkpoint, evaluation(tmp_path / "e", questions=6, pictures=True))
    files = [path for path in home_of(registry, version.version).rglob("*") if path.is_file()]
    heads = {path: path.read_bytes()[:2] for path in files}
    assert {path.suffix for path in files} <= SUFFIXES
    # The first bytes of a pickle (protocol 2 and later) and of a zip, as torch.save writes it.
    assert [path.name for path, head in heads.items() if head[:1] == b"\x80" or head == b"PK"] == []
    assert [path.name for path in files if path.suffix == ".safetensors"] == ["model.safetensors"]
    assert "model_code_path" in (home_of(registry, version.version) / "MLmodel").read_text()


def test_a_version_says_what_it_was_made_from_and_with(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    version = register(registry, checkpoint, evaluation(tmp_path / "e", questions=6))
    home, tags = home_of(registry, version.version), registry.store.client().get_model_version("llavaflow", "1").tags
    kept = Provenance.model_validate_json((home / "provenance.json").read_text())
    assert kept == provenance() and kept.device_hours == 2.0 and kept.teacher_usd == 0.25
    assert kept.seeds == {"run": 0, "base": 0, "data": 7}
    assert yaml.safe_load((home / "experiment.yaml").read_text()) == SHAPES
    assert load_experiment(str(home / "experiment.yaml")) == load_experiment("shapes")
    told = {name.removeprefix("llavaflow."): value for name, value in tags.items()}
    assert (told["device_hours"], told["teacher_usd"], told["seed.data"]) == ("2", "0.25", "7")
    assert told["code.align"] == "c" * 64 and told["hardware"] == "2 cores" and told["config"] == "9" * 64
    assert "non_commercial" not in told


def test_the_lock_file_is_part_of_the_origin(tmp_path: Path) -> None:
    assert provenance(project=tmp_path).lock is None
    (tmp_path / "requirements.lock").write_text("torch==2.0\n")
    first = provenance(project=tmp_path).lock
    (tmp_path / "requirements.lock").write_text("torch==2.1\n")
    assert first is not None and provenance(project=tmp_path).lock not in {None, first}


def test_data_that_forbid_commercial_use_mark_the_model(tmp_path: Path) -> None:
    # What joins the first source counts as much as it.
    joined = "data.also=[{kind: jsonl, root: more, licence: CC BY-NC 4.0, non_commercial: true}]"
    config = load_experiment("shapes", [joined]).model_dump(mode="json")
    known = provenance(config)
    assert known.tags()["non_commercial"] == "true" and known.tags()["licence"] == "CC BY-NC 4.0"
    folder = evaluation(tmp_path, questions=8, right=lambda index: index % 2 == 0)
    candidate = Candidate(experiment="shapes", run="r", run_id="m", checkpoint="c", evaluation="e", provenance=known)
    subject = Subject(model="llavaflow", description="Shapes.", config=config, shown=read_shown(folder, 2))
    card = model_card(subject, candidate, read_evidence(folder, "c", "e"))
    assert "Licence of the data: CC BY-NC 4.0." in card and "**Not for commercial use**" in card
    assert "2 device-hours" in card and "0.25 USD" in card
    shown = [line for line in card.splitlines() if line.startswith(("| right |", "| wrong |"))]
    assert [line.split(" | ")[0] for line in shown] == ["| right", "| right", "| wrong", "| wrong"]
    assert "A. red" in shown[0] and "The answer is A." in shown[0]


# ---------------------------------------------------------------------------------------------------- weights


def test_linked_weights_stay_where_they_are_and_altered_ones_are_refused(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(checkpoint, kept)
    version = register(
        registry, kept, evaluation(tmp_path / "e", questions=6, pictures=True), weights="link", canary=1
    )
    home = home_of(registry, version.version)
    assert list(home.rglob("*.safetensors")) == [] and registry.weights("1") == f"{kept}/model"
    assert json.loads((home / "artifacts" / "weights.json").read_text())["uri"] == f"{kept}/model"
    canary = registry.canary("1")
    assert registry.answers("1", canary) == [probe.answer for probe in canary.probes]
    registry.fetch_weights("1", tmp_path / "fetched")
    assert (tmp_path / "fetched" / "model.safetensors").is_file()
    (kept / "model" / "generation_config.json").write_text("{}")
    with pytest.raises(ValueError, match="gone or were altered since this version was registered"):
        registry.answers("1", canary)


# ---------------------------------------------------------------------------------------------------- canary


def promoted(registry: MlflowRegistry, tmp_path: Path, version: str, before: str | None) -> tuple[Desk, Promotion]:
    desk = desk_of(Settings(root=tmp_path / "root"), registry, who="ada", run="r")
    return desk, promote(desk, version, YES, before)


def test_the_canary_is_asked_of_every_benchmark_with_images_first(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=5, bench=3, pictures=True)
    probes = choose(folder, 3)
    assert [probe.prompt.split()[0] for probe in probes] == ["Describe", "Which", "Describe"]
    assert all(probe.image and "<image>" not in probe.prompt for probe in probes)
    assert choose(folder, 0) == ()


def test_a_champion_that_answers_as_it_was_registered_stays(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    folder = evaluation(tmp_path / "e", questions=6, bench=3, pictures=True)
    register(registry, checkpoint, folder, canary=3, canary_tokens=4)
    assert [bool(probe.answer) for probe in registry.canary("1").probes] == [True] * 3
    desk, done = promoted(registry, tmp_path, "1", None)
    assert check_champion(desk, registry, done, Silent()) == done
    assert registry.champion() == "1" and registry.tag_of("1", "canary") == "passed (3)"


def test_a_champion_that_answers_otherwise_goes_back_by_itself_with_an_alert(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    folder = evaluation(tmp_path / "e", questions=6, pictures=True)
    for name in "ab":
        register(registry, checkpoint, folder, name, canary=2, canary_tokens=4)
    promoted(registry, tmp_path, "1", None)
    canary = home_of(registry, "2") / "canary.json"
    told = json.loads(canary.read_text())
    told["probes"][0]["answer"] = "something else"
    canary.write_text(json.dumps(told))
    desk, done = promoted(registry, tmp_path, "2", "1")
    back = check_champion(desk, registry, done, Silent())
    assert (back.verdict, back.champion_after, registry.champion()) == ("hold", "1", "1")
    alerts = [record for record in history(desk) if record.event == "alert"]
    assert [record.reasons for record in alerts] == [("canary: 1 of 2 canary answers differ",)]
    assert (registry.tag_of("2", "decision"), registry.tag_of("2", "canary")) == (
        "hold", "failed: 1 of 2 canary answers differ",
    )
    # Half of the answers are enough where the config of its registration said so.
    again = replace(desk, run="r2")
    canary.write_text(json.dumps({**told, "share": 0.5}))
    registry.store.client().delete_model_version_tag("llavaflow", "2", "llavaflow.canary")
    registry.set_champion("2")
    assert check_champion(again, registry, done, Silent()) == done and registry.champion() == "2"


def test_a_champion_whose_weights_are_gone_goes_back_by_itself(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    register(registry, checkpoint, evaluation(tmp_path / "e", questions=6, pictures=True), canary=1)
    shutil.rmtree(home_of(registry, "1") / "artifacts")
    desk, done = promoted(registry, tmp_path, "1", None)
    back = check_champion(desk, registry, done, Silent())
    assert back.verdict == "hold" and registry.champion() is None
    assert "cannot be loaded" in history(desk)[-1].reasons[0]


def test_a_canary_that_was_altered_beyond_reading_does_not_pass(
    registry: MlflowRegistry, checkpoint: Path, tmp_path: Path
) -> None:
    register(registry, checkpoint, evaluation(tmp_path / "e", questions=6, pictures=True), canary=1)
    (home_of(registry, "1") / "canary.json").write_text("[]")
    desk, done = promoted(registry, tmp_path, "1", None)
    assert check_champion(desk, registry, done, Silent()).verdict == "hold" and registry.champion() is None
    assert "canary.json of version 1 was altered" in history(desk)[-1].reasons[0]


# ---------------------------------------------------------------------------------------------------- bad input


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Files may grow to so many bytes and no further: to who writes them, a disk that is full."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_is_full_while_registering_leaves_no_version_and_the_next_try_does(
    registry: MlflowRegistry, tmp_path: Path
) -> None:
    folder, model = evaluation(tmp_path / "e", questions=6), tmp_path / "large"
    (model / "model").mkdir(parents=True)
    (model / "model" / "model.safetensors").write_bytes(bytes(24_000_000))
    registry.rows()
    with room_for(12_000_000), pytest.raises(RegistryError, match=r"not register the model.*File too large") as caught:
        register(registry, model, folder)
    assert "\n" not in str(caught.value) and registry.rows() == []
    assert register(registry, model, folder).version == "1"
