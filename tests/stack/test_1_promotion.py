"""Promotion on real services: MLflow's server on Postgres, artifacts in SeaweedFS, lock and trail in Postgres.

The models are tiny and their evaluations made by rule: what is shown is what becomes of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
import s3fs

from configs.load import load_experiment
from configs.schema import GateConfig, RegistryConfig
from configs.settings import Settings
from flows.desk import desk_of
from tasks.artifacts import Checkpoint, EvalReport, MadeBy, ModelVersion, Promotion
from tasks.errors import EnvironmentProblem, RegistryError
from tasks.progress import Silent
from tasks.register.approval import approve
from tasks.register.database import Database, database_lock
from tasks.register.desk import Desk
from tasks.register.promote import promote, rollback
from tasks.register.provenance import provenance_of
from tasks.register.registry import MlflowRegistry
from tasks.register.run import Material, check_champion, judge_model, promote_model, register_model
from tasks.register.settle import history
from tasks.register.verdict import Reason, Verdict
from tasks.register.version import Candidate
from tasks.tracking import MlflowStore, MlflowTracker
from tests.fakes.evaluations import digest_of_name, evaluation
from tests.fakes.registries import CountedAudit, Steps
from tests.fakes.stack import Stack
from tests.fakes.tiny_llava import save_tiny_llava

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

FORK = multiprocessing.get_context("fork")
LEASE = 3.0
"""Seconds after which a killed holder's lock is free."""
YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
GATE = GateConfig(margin=4.0, category_margin=10.0)
SHAPES = load_experiment("shapes").model_dump(mode="json")
MADE = MadeBy(
    stage="instruct", code="c" * 64, config="f" * 64, libraries={"torch": "2.13"}, git_commit="abc", git_dirty=False,
    created="2026-11-22T12:00:00+00:00", seconds=1800.0,
)


@pytest.fixture(autouse=True)
def surroundings(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `. .stack/env`."""
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    save_tiny_llava(folder / "model")
    return folder


@dataclass(frozen=True)
class Place:
    """A registered model of its own on the services."""

    registry: MlflowRegistry
    settings: Settings
    checkpoint: Path
    folder: Path

    def desk(self, run: str = "r", who: str = "ada") -> Desk:
        return desk_of(self.settings, self.registry, who=who, run=run)

    def register(self, name: str, right: int, **knobs: object) -> tuple[ModelVersion, Path]:
        """A version that answers so many of 300 questions rightly, each time the same ones first."""
        folder = evaluation(
            self.folder / name, questions=300, right=lambda index: index * 37 % 300 < right, pictures=True
        )
        run = MlflowTracker(self.registry.store, "shapes", f"{self.registry.name}-{name}", system_seconds=None)
        artifact = {"uri": "s3://llavaflow/x", "digest": "d" * 64, "key": "k", "parents": {}, "made_by": MADE}
        parts = {"instruct": Checkpoint(**artifact), "evaluate": EvalReport(**artifact)}
        known = Candidate(
            experiment="shapes", run=f"{self.registry.name}-{name}", run_id=run.run_id,
            checkpoint=digest_of_name(f"checkpoint {name}"), evaluation=digest_of_name(f"evaluation {name}"),
            data={"images": "1" * 64}, config="9" * 64,
            provenance=provenance_of(parts, SHAPES, {"Machine": "2 cores"}, Path("/nowhere"), devices=2),
        )
        uri = str(knobs.pop("uri", self.checkpoint))
        told = RegistryConfig.model_validate({"canary": 0, **knobs})
        material = Material(self.checkpoint, uri, folder, "A world of coloured shapes.", SHAPES)
        return register_model(self.registry, known, material, told, Silent()), folder

    def challenge(
        self, name: str, right: int, gate: GateConfig = GATE, who: str = "ada", **knobs: object
    ) -> tuple[ModelVersion, Promotion]:
        """Register it, ask the gate, do what it says, as a run of that name."""
        version, folder = self.register(name, right, **knobs)
        judged = judge_model(self.registry, version, folder, gate, seed=0)
        return version, promote_model(self.desk(name, who), version, judged, Silent(), gate.approval_hours)


@pytest.fixture
def place(stack: Stack, checkpoint: Path, tmp_path: Path) -> Iterator[Place]:
    settings = Settings(root=tmp_path / "root", ledger_url=stack.plan.database("ledger", "psycopg"))
    name = f"llavaflow-{uuid.uuid4().hex[:8]}"
    yield Place(MlflowRegistry(MlflowStore(stack.plan.url("mlflow")), name, "champion"), settings, checkpoint, tmp_path)


def test_the_life_of_a_champion(place: Place, stack: Stack) -> None:
    registry = place.registry
    _, first = place.challenge("first", 200, canary=2, canary_tokens=4)
    assert (first.verdict, first.champion_before, first.champion_after) == ("promote", None, "1")
    assert check_champion(place.desk(), registry, first, Silent()).champion_after == "1"
    assert registry.tag_of("1", "canary") == "passed (2)"

    _, worse = place.challenge("worse", 150)
    assert (worse.verdict, worse.champion_after) == ("hold", "1")
    assert any("scienceqa" in reason for reason in worse.reasons)

    _, better = place.challenge("better", 260)
    assert (better.verdict, better.champion_before, better.champion_after) == ("promote", "1", "3")

    _, asked = place.challenge("by-hand", 262, replace_gate(approval="always"))
    assert (asked.verdict, registry.champion()) == ("needs_approval", "3")
    answered = approve(place.desk("", "grace"), "by-hand", "looked at its answers").promotion
    assert (answered.verdict, registry.champion()) == ("promote", "4")

    back = rollback(place.desk(who="grace"), reason="users complain")
    assert (back.champion_before, back.champion_after, registry.champion()) == ("4", "3", "3")
    assert [record.event for record in history(place.desk())] == [
        "intent", "done", "held", "intent", "done", "waits", "approved", "intent", "done", "intent", "done",
    ]
    told = stack.llavaflow("history", "--model", registry.name, COLUMNS="160")
    assert told.returncode == 0, told.stderr
    for word in ("promote", "hold", "approved", "grace", "looked at its answers", "rollback", "users complain"):
        assert word in told.stdout, told.stdout
    listed = stack.llavaflow("models", "--model", registry.name, COLUMNS="160")
    assert "champion" in listed.stdout, listed.stdout + listed.stderr


def replace_gate(**knobs: object) -> GateConfig:
    return GateConfig.model_validate({**GATE.model_dump(), **knobs})


def test_the_card_reads_well_and_every_version_says_what_it_cost(place: Place) -> None:
    version, _ = place.register("told", 200)
    card = place.registry.text(version.version, "model_card.md")
    assert card is not None
    for heading in ("Data and licences", "Results", "Limits", "Provenance"):
        assert f"## {heading}" in card
    assert "2 cores" in card and "device-hours" in card
    tags = dict((number, told) for number, _, told in place.registry.tags())[version.version]
    assert float(tags["device_hours"]) == 1.0 and tags["hardware"] == "2 cores"


def test_the_artifacts_lie_in_the_bucket(place: Place, stack: Stack) -> None:
    version, _ = place.register("kept", 200)
    location = place.registry.store.client().get_model_version_download_uri(place.registry.name, version.version)
    assert location.startswith("mlflow-artifacts:/")
    found = s3fs.S3FileSystem(endpoint_url=stack.plan.url("s3")).find("llavaflow/mlflow")
    assert any(path.endswith("artifacts/model/model.safetensors") for path in found)


def test_linked_weights_are_loaded_from_s3_and_altered_ones_are_refused(place: Place, stack: Stack) -> None:
    bucket = s3fs.S3FileSystem(endpoint_url=stack.plan.url("s3"))
    kept = f"llavaflow/kept/{place.registry.name}"
    bucket.put(str(place.checkpoint / "model") + "/", f"{kept}/model/", recursive=True)
    version, _ = place.register("linked", 200, weights="link", canary=1, canary_tokens=4, uri=f"s3://{kept}")
    assert place.registry.weights(version.version) == f"s3://{kept}/model"
    probes = place.registry.canary(version.version)
    assert place.registry.answers(version.version, probes) == [probe.answer for probe in probes.probes]
    place.registry.fetch_weights(version.version, place.folder / "fetched")
    assert (place.folder / "fetched" / "model.safetensors").is_file()
    bucket.pipe_file(f"{kept}/model/generation_config.json", b"{}")
    with pytest.raises((RegistryError, ValueError), match="gone or were altered since this version was registered"):
        place.registry.answers(version.version, probes)


# ---------------------------------------------------------------------------------------- at once, and killed


def _promote(place: Place, version: str, outcomes: multiprocessing.Queue[str]) -> None:
    try:
        promote(place.desk(f"run-{version}"), version, YES, "1")
        outcomes.put(f"promoted {version}")
    except RegistryError as error:
        outcomes.put(str(error))


def test_of_two_promotions_at_once_exactly_one_wins(place: Place) -> None:
    for name in ("one", "two", "three"):
        place.register(name, 200)
    promote(place.desk(), "1", YES, None)
    outcomes = FORK.Queue()
    children = [FORK.Process(target=_promote, args=(place, version, outcomes)) for version in ("2", "3")]
    for child in children:
        child.start()
    found = sorted(outcomes.get(timeout=120) for _ in children)
    for child in children:
        child.join(60)
    won = [outcome.removeprefix("promoted ") for outcome in found if outcome.startswith("promoted")]
    assert won == [place.registry.champion()], found
    (lost,) = [outcome for outcome in found if not outcome.startswith("promoted")]
    assert "champion" in lost
    assert [(one.before, one.after) for one in place.desk().trail() if one.event == "done"] == [
        (None, "1"), ("1", won[0]),
    ]


class CountedRegistry:
    """The real registry, whose effects are steps at which the process may be killed."""

    def __init__(self, registry: MlflowRegistry, steps: Steps) -> None:
        self._registry, self._steps = registry, steps
        self.name, self.alias = registry.name, registry.alias

    def champion(self) -> str | None:
        return self._registry.champion()

    def set_champion(self, version: str | None) -> None:
        self._steps.run(lambda: self._registry.set_champion(version))

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        self._steps.run(lambda: self._registry.tag(version, tags))


def _desk_with_steps(place: Place, steps: Steps) -> Desk:
    at = place.desk()
    assert place.settings.ledger_url is not None
    database = Database(place.settings.ledger_url)
    name = f"{place.registry.name}/champion"
    return replace(
        at, registry=CountedRegistry(place.registry, steps), audit=CountedAudit(at.audit, steps),
        lock=lambda: database_lock(database, name, seconds=LEASE),
    )


def _promote_and_die(place: Place, version: str, before: str, step: int, after_effect: bool) -> None:
    steps = Steps(lambda: os.kill(os.getpid(), signal.SIGKILL))
    steps.kill_at, steps.after_effect = step, after_effect
    promote(_desk_with_steps(place, steps), version, YES, before)


@pytest.mark.parametrize("after_effect", [False, True])
def test_killed_midway_it_ends_before_or_after_and_once(place: Place, after_effect: bool) -> None:
    for name in ("one", "two"):
        place.register(name, 200)
    promote(place.desk(), "1", YES, None)
    before, version, killed = "1", "2", 0
    for step in range(20):
        child = FORK.Process(target=_promote_and_die, args=(place, version, before, step, after_effect))
        child.start()
        child.join(120)
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        killed += 1
        assert place.registry.champion() in {before, version}
        promote(_desk_with_steps(place, Steps()), version, YES, place.registry.champion())
        assert place.registry.champion() == version
        before, version = version, before
    assert killed >= 4
    moves = [(one.before, one.after) for one in place.desk().trail() if one.event == "done"]
    assert all(first[1] == second[0] for first, second in pairwise(moves)), moves
    assert len(moves) == killed + 2


# --------------------------------------------------------------------------------------------- wrong words


def test_wrong_passwords_and_keys_are_told_in_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    good = place.settings.ledger_url
    assert good is not None
    bad = good.replace(good.split("@")[0].rsplit(":", 1)[1], "wrong")
    with pytest.raises(RegistryError, match="password authentication failed") as refused:
        desk_of(Settings(ledger_url=bad), place.registry).trail()
    assert "\n" not in str(refused.value) and "wrong@" not in str(refused.value)


def test_a_wrong_password_of_mlflow_is_told_in_one_line(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flask_wtf", reason="MLflow asks for no password without Flask-WTF (mlflow[auth])")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    with pytest.raises(EnvironmentProblem, match="cannot be used") as refused:
        MlflowStore(stack.plan.url("mlflow")).client()
    assert "\n" not in str(refused.value) and "wrong" not in str(refused.value).replace("cannot", "")
