"""The diagnosis: all that is well is said to be, all that is off is named with one line of remedy."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from configs.load import load_experiment, validate
from configs.schema import Experiment
from configs.settings import Settings
from flows.doctor import Finding, Level, check, render
from tests.fakes.machine import GIB, FakeMachine

ENDPOINT = {"kind": "openai", "base_url": "https://models.example/v1", "model": "m", "api_key_env": "SOME_KEY"}


@pytest.fixture(scope="module")
def locked(project: Path) -> dict[str, str]:
    """The packages of the lock, installed as locked; torch as its CPU build calls itself."""
    lines = (project / "requirements.lock").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.lstrip().startswith("#")]
    here = [one for one in found if one.marker is None or one.marker.evaluate()]
    versions = {one.name: str(one.specifier).removeprefix("==") for one in here}
    return versions | {"torch": versions["torch"] + "+cpu"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(root=tmp_path / "runs")


def names(findings: list[Finding], level: Level) -> list[str]:
    return [finding.name for finding in findings if finding.level is level]


def shapes(*overrides: str) -> Experiment:
    return load_experiment("shapes", overrides)


def with_endpoint(endpoint: Mapping[str, object]) -> Experiment:
    tree = shapes().model_dump()
    tree["generate"]["teacher"] = endpoint
    return validate(tree)


def test_a_machine_on_which_all_is_well_has_no_failure_and_no_warning(
    locked: dict[str, str], settings: Settings
) -> None:
    machine = FakeMachine(locked)
    findings = check(settings, shapes(), machine=machine)
    assert {finding.level for finding in findings} == {Level.OK}
    assert check(settings, shapes(), quiet=True, machine=machine) == []
    assert machine.asked == []


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"version": (3, 10)}, "python"),
        ({"programs": {"ninja"}, "operations": set[str]()}, "compiler"),
        ({"programs": {"c++"}}, "ninja"),
        ({"memory": 2 * GIB}, "memory"),
        ({"unwritable": "Read-only file system"}, "run folder"),
        ({"no_loopback": "Operation not permitted"}, "ports"),
    ],
)
def test_each_lack_is_one_failure_with_one_line_of_remedy(
    broken: dict[str, object], name: str, locked: dict[str, str], settings: Settings
) -> None:
    machine = FakeMachine(locked)
    for attribute, value in broken.items():
        setattr(machine, attribute, value)
    findings = check(settings, shapes(), quiet=True, machine=machine)
    assert [finding.name for finding in findings] == [name]
    assert findings[0].remedy
    assert "\n" not in findings[0].remedy


def test_a_full_disk_is_a_failure_and_a_nearly_full_one_a_warning(locked: dict[str, str], settings: Settings) -> None:
    def disk(free: int) -> Level:
        machine = FakeMachine(locked, disk={str(settings.home()): free})
        return next(finding.level for finding in check(settings, machine=machine) if finding.name == "disk")

    assert [disk(GIB // 2), disk(3 * GIB), disk(20 * GIB)] == [Level.FAIL, Level.WARN, Level.OK]


def test_little_shared_memory_is_a_warning(locked: dict[str, str], settings: Settings) -> None:
    machine = FakeMachine(locked, disk={"/dev/shm": 64 << 20})
    assert names(check(settings, machine=machine), Level.WARN) == ["shared memory"]


def test_a_compiler_suffices_where_nothing_is_compiled_yet(locked: dict[str, str], settings: Settings) -> None:
    machine = FakeMachine(locked, operations=set())
    assert names(check(settings, machine=machine), Level.WARN) == ["compiler"]


def test_a_direct_dependency_that_is_missing_fails(locked: dict[str, str], settings: Settings) -> None:
    machine = FakeMachine({name: version for name, version in locked.items() if name != "deepspeed"})
    (failure,) = check(settings, quiet=True, machine=machine)
    assert "deepspeed" in failure.what
    assert failure.remedy == "make setup"


def test_another_version_than_the_locked_one_is_a_warning_that_names_both(
    locked: dict[str, str], settings: Settings
) -> None:
    findings = check(settings, machine=FakeMachine(locked | {"ray": "1.0"}))
    (warning,) = [finding for finding in findings if finding.level is Level.WARN]
    assert warning.what == f"ray 1.0 (locked: {locked['ray']})"


def test_more_workers_than_cores_are_a_warning_unless_a_cluster_is_named(
    locked: dict[str, str], settings: Settings
) -> None:
    experiment, machine = shapes("train.workers=4"), FakeMachine(locked, cores=2)
    assert names(check(settings, experiment, machine=machine), Level.WARN) == ["cpu"]
    cluster = settings.model_copy(update={"ray_address": "ray://head:10001"})
    assert names(check(cluster, experiment, machine=machine), Level.WARN) == []


def test_gpus_are_told_and_missing_ones_are_a_failure(locked: dict[str, str], settings: Settings) -> None:
    experiment = shapes("train.gpus_per_worker=1")
    assert names(check(settings, experiment, machine=FakeMachine(locked)), Level.FAIL) == ["gpu"]
    findings = check(settings, experiment, machine=FakeMachine(locked, cards=["H200", "H200"]))
    assert [finding.what for finding in findings if finding.name == "gpu"] == ["2 x H200"]


def test_servers_are_asked_where_one_is_configured(locked: dict[str, str], settings: Settings) -> None:
    configured = settings.model_copy(
        update={
            "prefect_api_url": "http://prefect:4200/api",
            "mlflow_uri": "http://mlflow:5000/",
            "s3_endpoint": "http://s3:9000",
            "ray_address": "ray://head:10001",
            "ledger_url": "postgresql+asyncpg://me:secret@db/ledger",
        }
    )
    machine = FakeMachine(locked)
    assert check(configured, quiet=True, machine=machine) == []
    assert sorted(machine.asked) == [
        "http://mlflow:5000/health",
        "http://prefect:4200/api/health",
        "http://s3:9000",
        "postgresql+asyncpg://me:secret@db/ledger",
        "ray://head:10001",
    ]


def test_a_server_that_answers_and_refuses_our_login_stops_a_run_and_shows_no_password(
    locked: dict[str, str], settings: Settings
) -> None:
    named = settings.model_copy(update={"ledger_url": "postgresql+psycopg://me:secret@db:5432/ledger"})
    machine = FakeMachine(locked, refusing={"ledger": "it refuses our password; mend LLAVAFLOW_LEDGER_URL"})
    (failure,) = check(named, quiet=True, machine=machine)
    assert failure.what == "postgresql+psycopg://db:5432/ledger: it refuses our password"
    assert failure.remedy == "mend LLAVAFLOW_LEDGER_URL"


def test_files_and_local_clusters_are_no_servers(locked: dict[str, str], settings: Settings) -> None:
    local = settings.model_copy(
        update={"mlflow_uri": "sqlite:///x.db", "ledger_url": "sqlite:////tmp/ledger.db", "ray_address": "auto"}
    )
    machine = FakeMachine(locked)
    check(local, machine=machine)
    assert machine.asked == []


def test_a_configured_server_that_is_silent_fails_and_its_password_stays_unsaid(
    locked: dict[str, str], settings: Settings
) -> None:
    url = "http://me:secret@mlflow:5000"
    machine = FakeMachine(locked, dead={f"{url}/health": "Connection refused"})
    configured = settings.model_copy(update={"mlflow_uri": url})
    (failure,) = check(configured, quiet=True, machine=machine)
    assert failure.what == "http://mlflow:5000/health does not answer: Connection refused"
    assert "LLAVAFLOW_MLFLOW_URI" in failure.remedy


def test_a_silent_teacher_is_a_warning_only(locked: dict[str, str], settings: Settings) -> None:
    machine = FakeMachine(locked, dead={"https://models.example/v1/models": "timed out"}, variables={"SOME_KEY": "k"})
    findings = check(settings, with_endpoint(ENDPOINT), machine=machine)
    assert names(findings, Level.FAIL) == []
    assert names(findings, Level.WARN) == ["endpoint"]


@pytest.mark.parametrize(
    ("url", "expected"), [("https://models.example/v1", ["key"]), ("http://127.0.0.1:8000/v1", [])]
)
def test_a_key_is_wanted_for_an_endpoint_elsewhere(
    url: str, expected: list[str], locked: dict[str, str], settings: Settings
) -> None:
    experiment = with_endpoint({**ENDPOINT, "base_url": url})
    assert names(check(settings, experiment, machine=FakeMachine(locked)), Level.WARN) == expected


def test_the_table_shows_every_finding_as_it_is() -> None:
    findings = [
        Finding("disk", Level.OK, "9 GiB free"),
        Finding("s3", Level.FAIL, "[Errno 111] refused", "start [it]"),
    ]
    out = io.StringIO()
    Console(file=out, width=100).print(render(findings))
    for finding in findings:
        line = next(line for line in out.getvalue().splitlines() if finding.name in line)
        assert all(part in line for part in (finding.level.value, finding.what, finding.remedy))
