"""The whole system: schedules, events, a person's answer, a cancelled run, a lost node, services that restart.

The tests build on one another and run in this order: what one made is cached for the next.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import s3fs

from infra.stack.programs import WORK_POOL
from tests.fakes.stack import Stack, wait_for
from tests.stack.system import System

pytestmark = [pytest.mark.stack, pytest.mark.timeout(3600)]

DEPLOYMENTS = ("pipeline/retrain", "data/data", "champion-evaluation/evaluate", "promotion/promote")


@pytest.fixture(scope="module")
def system(stack: Stack) -> Iterator[System]:
    """The stack with the deployments and automations of this project."""
    deployed = stack.run("prefect", "--no-prompt", "deploy", "--all", LLAVAFLOW_WORK_POOL=WORK_POOL)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    loaded = stack.llavaflow("automations", "infra/automations.yaml")
    assert loaded.returncode == 0, loaded.stdout + loaded.stderr
    found = System(stack, f"system-{uuid.uuid4().hex[:8]}")
    yield found
    found.close()


def outcome(system: System, tag: str) -> dict[str, Any]:
    """What a run with a tag came to."""
    folder = system.folder(tag)
    assert folder is not None
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def digests(told: dict[str, Any]) -> dict[str, str]:
    return {stage["name"]: stage["digest"] for stage in told["stages"] if stage.get("digest")}


def test_every_deployment_is_registered(system: System) -> None:
    for name in DEPLOYMENTS:
        assert system.deployment(name)


def test_a_schedule_fires_and_a_model_comes_out_of_it(system: System) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=75)).isoformat()
    schedule = system.schedule(
        soon, {"experiment": "shapes", "overrides": system.overrides(), "tag": "scheduled"}
    )
    wait_for(lambda: system.tagged("scheduled") is not None, 300)
    run = system.tagged("scheduled")
    assert run is not None and run["auto_scheduled"]
    nodes: set[str] = set()

    def training_was_seen_on_both() -> bool:
        nodes.update(actor["node_id"] for actor in system.actors("RayTrainWorker", None))
        return len(nodes) > 1 or system.run(run)["state_type"] in {"FAILED", "CRASHED"}

    wait_for(training_was_seen_on_both, 900)
    done = system.wait(run)
    system.unschedule(schedule)
    assert done["state_type"] == "COMPLETED", done["state"]["message"]
    assert len(nodes) == 2
    told = outcome(system, "scheduled")
    assert told["decision"]["verdict"] == "promote" and told["decision"]["champion_after"] == "1"
    bucket = bucket_of(system)
    made = {path.split("/")[2] for path in bucket.find("llavaflow/cache")}
    assert {"ingest", "generate", "shard", "base", "align", "instruct", "evaluate"} <= made
    assert bucket.find(f"llavaflow/runs/{told['run']}"), "the run's folder is kept"


def bucket_of(system: System) -> Any:
    """The S3 of the stack, as it is now: nothing listed is kept."""
    plan = system.stack.plan
    return s3fs.S3FileSystem(
        endpoint_url=plan.url("s3"), key=plan.passwords["s3_access"], secret=plan.passwords["s3_secret"],
        use_listings_cache=False,
    )


def test_the_model_is_made_again_bit_for_bit(system: System) -> None:
    done = system.stack.llavaflow("reproduce", "champion", "--model", system.model, "--json")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert {stage["stage"]: stage["state"] for stage in told["stages"]} == dict.fromkeys(
        ("ingest", "generate", "shard", "base", "align", "instruct", "evaluate"), "equal"
    )


def test_published_data_start_a_run_that_a_person_is_asked_about(system: System) -> None:
    sets = [part for one in system.overrides("seed={version}", "gate.approval=always") for part in ("--set", one)]
    name = f"data-{system.model}"
    published = system.stack.llavaflow("publish", name, "--version", "41", "--experiment", "shapes", *sets)
    assert published.returncode == 0, published.stderr
    tag = f"{name}-41"
    wait_for(lambda: system.tagged(tag) is not None, 300)
    run = system.tagged(tag)
    assert run is not None and run["created_by"]["type"] == "AUTOMATION"
    waiting = system.wait(run, "PAUSED")
    assert (waiting["state_type"], waiting["state_name"]) == ("PAUSED", "Suspended"), waiting["state"]
    wait_for(lambda: flow_processes(run["id"]) == [], 60)
    cached = {stage["name"] for stage in outcome(system, tag)["stages"] if stage["cached"]}
    assert {"ingest", "generate", "shard", "base"} <= cached

    told = system.stack.llavaflow("history", "--model", system.model, "--json")
    asked = next(one for one in json.loads(told.stdout) if one["event"] == "waits")
    answered = system.stack.llavaflow(
        "approve", asked["run"], "--reason", "its errors are harmless", "--model", system.model
    )
    assert answered.returncode == 0, answered.stdout + answered.stderr
    done = system.wait(run)
    assert done["state_type"] == "COMPLETED", done["state"]["message"]
    trail = json.loads(system.stack.llavaflow("history", "--model", system.model, "--json").stdout)
    assert [(one["event"], one["after"]) for one in trail if one["event"] in {"approved", "done"}] == [
        ("done", "1"), ("approved", "2"), ("done", "2"),
    ]


def flow_processes(run: str) -> list[int]:
    """Processes of a flow run on this machine."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == run.replace("-", ""):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


def test_a_run_cancelled_in_training_leaves_nothing_running(system: System) -> None:
    run = system.start("cancelled", "seed=42", "train.stages.align.steps=500")
    wait_for(lambda: len(system.actors("RayTrainWorker")) == 2 or over(system, run), 900)
    assert len(system.trainers()) == 2
    system.cancel(run)
    done = system.wait(run)
    assert done["state_type"] == "CANCELLED", done["state"]["message"]
    wait_for(lambda: system.actors("RayTrainWorker") == [] and system.jobs() == [] and system.trainers() == [], 120)
    assert flow_processes(run["id"]) == []


def over(system: System, run: dict[str, Any]) -> bool:
    return system.run(run)["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def test_a_node_killed_in_training_changes_nothing_of_the_weights(system: System) -> None:
    before = {one.name: one.pid for one in system.stack.conditions()}
    # Another cache: the same stages are made anew. Its data come to the same digests, or nothing here would.
    sets = [part for one in system.overrides("train.max_failures=3") for part in ("--set", one)]
    root = system.stack.root.parent / "disturbed"
    disturbed = start_command(
        system.stack, "instruct", "shapes", "--json", *sets, LLAVAFLOW_ROOT=str(root),
        LLAVAFLOW_STORAGE=f"s3://llavaflow/{system.model}",
    )

    def kept() -> bool:
        found = bucket_of(system).find(f"llavaflow/{system.model}/work")
        return any("/instruct-" in path and "/part-" in path for path in found)

    wait_for(lambda: disturbed.poll() is not None or kept(), 900)
    assert disturbed.poll() is None, disturbed.communicate()
    node = psutil.Process(before["ray-node-1"])
    for process in [*node.children(recursive=True), node]:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    told, error = disturbed.communicate(timeout=900)
    assert disturbed.returncode == 0, error[-3000:]
    found, whole = digests(json.loads(told)), digests(outcome(system, "scheduled"))
    assert found and found == {name: whole[name] for name in found}
    wait_for(lambda: all(one.healthy for one in system.stack.conditions()))
    assert {one.name: one.pid for one in system.stack.conditions()}["ray-node-1"] != before["ray-node-1"]


def start_command(stack: Stack, *words: str, **more: str) -> psutil.Popen:
    """`llavaflow ...` that goes on while the test does something else."""
    import subprocess
    import sys

    return psutil.Popen(
        [sys.executable, "-m", "flows.cli", *words], cwd=Path(__file__).resolve().parents[2],
        env={**stack.environment, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def test_services_that_restart_during_a_run_lose_nothing(system: System) -> None:
    run = system.start("restarts", "seed=43")
    wait_for(lambda: any(event.get("name") == "ingest" for event in system.events("restarts")), 600)
    for name in ("mlflow", "s3", "postgres", "prefect"):
        system.stack.supervisor.stop_program(name)
        system.stack.supervisor.start_program(name)
        wait_for(lambda: all(one.healthy for one in system.stack.conditions()), 300)
    done = system.wait(run)
    assert done["state_type"] == "COMPLETED", done["state"]["message"]
    told = outcome(system, "restarts")
    assert told["status"] == "finished" and told["decision"]["challenger"]


# --------------------------------------------------------------------------------------------- wrong words


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PREFECT_API_AUTH_STRING", "llavaflow:wrong", "PREFECT_API_AUTH_STRING"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "AWS_SECRET_ACCESS_KEY"),
        ("LLAVAFLOW_LEDGER_URL", "", "LLAVAFLOW_LEDGER_URL"),
        ("MLFLOW_TRACKING_PASSWORD", "wrong", "MLFLOW_TRACKING_PASSWORD"),
        ("RAY_AUTH_TOKEN", "0" * 64, "Ray"),
    ],
)
def test_a_wrong_password_key_or_token_is_one_clear_line(
    system: System, variable: str, value: str, said: str, tmp_path: Path
) -> None:
    if variable == "MLFLOW_TRACKING_PASSWORD":
        pytest.importorskip("flask_wtf", reason="MLflow asks for no password without Flask-WTF (mlflow[auth])")
    if variable == "LLAVAFLOW_LEDGER_URL":
        good = system.stack.plan.database("ledger", "psycopg")
        value = good.replace(system.stack.plan.passwords["postgres"], "wrong")
    last = {"RAY_AUTH_TOKEN": "align"}.get(variable, "run")
    sets = [part for one in system.overrides() for part in ("--set", one)]
    if variable == "RAY_AUTH_TOKEN":
        sets += ["--set", "seed=44"]  # or nothing would be trained
    done = system.stack.llavaflow(last, "shapes", *sets, **{variable: value, "LLAVAFLOW_ROOT": str(tmp_path)})
    assert done.returncode == 1, done.stdout + done.stderr
    last_line = done.stderr.strip().splitlines()[-1]
    assert last_line.startswith("error: ") and said in last_line and "Traceback" not in done.stderr, done.stderr
    assert not any(secret in done.stderr + done.stdout for secret in [*system.stack.plan.secrets(), value])


# --------------------------------------------------------------------------------------------- secrets


def test_no_secret_is_in_a_log_an_artifact_or_a_database(system: System) -> None:
    secrets = [secret.encode() for secret in system.stack.plan.secrets()]
    stack, seen = system.stack, 0
    for folder in (stack.places.logs, stack.places.ray, stack.root, stack.root.parent / "disturbed"):
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink():
                seen += 1
                assert not in_bytes(secrets, file.read_bytes()), file
    bucket = bucket_of(system)
    for path in bucket.find("llavaflow"):
        seen += 1
        assert not in_bytes(secrets, bucket.cat_file(path)), path
    for database in ("prefect", "mlflow", "ledger"):
        seen += check_database(stack.plan.database(database), secrets)
    assert seen > 100


def in_bytes(secrets: list[bytes], content: bytes) -> bool:
    return any(secret in content for secret in secrets)


def check_database(url: str, secrets: list[bytes]) -> int:
    """Every row of every table as text; how many they were."""
    import psycopg
    from psycopg import sql

    seen = 0
    with psycopg.connect(url) as connection:
        names = connection.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (name,) in names:
            query = sql.SQL("select t::text from {} t").format(sql.Identifier(name))
            for (row,) in connection.execute(query):
                seen += 1
                assert not in_bytes(secrets, row.encode()), (name, row[:200])
    return seen


def test_a_wrong_password_is_refused_by_every_service(system: System) -> None:
    import psycopg

    plan = system.stack.plan
    assert httpx.post(f"{plan.url('prefect')}/api/flow_runs/filter", json={}, trust_env=False).status_code == 401
    assert httpx.get(f"{plan.url('ray_dashboard')}/api/jobs/", trust_env=False).status_code in {401, 403}
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(plan.database("ledger").replace(plan.passwords["postgres"], "wrong"))
    with pytest.raises(PermissionError):
        s3fs.S3FileSystem(endpoint_url=plan.url("s3"), key="none", secret="wrong", skip_instance_cache=True).ls(
            "llavaflow"
        )
    assert os.environ.get("AWS_ACCESS_KEY_ID") is None
