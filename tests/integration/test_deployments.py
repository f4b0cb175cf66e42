"""`prefect deploy --all`, automations, publish and backfill against a real Prefect server with its services."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.automations import load_automations
from flows.backfill import backfill, wanted_runs
from flows.publish import publication_of, publish
from tasks.errors import ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PATIENCE = 60.0
"""Seconds that the server's services may take to act."""
HEARD = 1.0
"""Seconds after which the server acts by an automation that it was just given."""
SEED = "data.source.seed={version}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, project: Path) -> Iterator[str]:
    """The API of a server with all its services."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    command = [str(Path(sys.executable).parent / "prefect"), "server", "start", "--port", str(port)]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_UI_ENABLED": "false"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=project, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: is_up(url), 120)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PREFECT_API_URL", url)
            with temporary_settings({PREFECT_API_URL: url}):
                yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def deployed(server: str, project: Path) -> str:
    """The deployments of prefect.yaml, registered by Prefect's own command."""
    prefect = str(Path(sys.executable).parent / "prefect")
    environment = {**os.environ, "PREFECT_API_URL": server, "LLAVAFLOW_WORK_POOL": "llavaflow"}
    for command in (["work-pool", "create", "--type", "process", "llavaflow"], ["--no-prompt", "deploy", "--all"]):
        done = subprocess.run([prefect, *command], cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return server


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is posted to the webhook."""
    posted: list[str] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("LLAVAFLOW_ALERT_WEBHOOK", f"http://127.0.0.1:{receiver.server_port}/alert")
    yield posted
    receiver.shutdown()
    receiver.server_close()
    thread.join()


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.2)


def runs_tagged(tag: str) -> list[FlowRun]:
    """Flow runs whose parameter `tag` is this."""
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter())
    return [run for run in found if run.parameters.get("tag") == tag]


def test_before_deployments_are_registered_automations_say_what_to_do(server: str, project: Path) -> None:
    with pytest.raises(ConfigError, match="prefect deploy --all"):
        load_automations(project / "infra" / "automations.yaml")


def test_without_a_webhook_alerts_are_left_out_and_said_so(deployed: str, project: Path) -> None:
    loaded = dict(load_automations(project / "infra" / "automations.yaml"))
    assert loaded["llavaflow retrain on new data"] == "created"
    assert "LLAVAFLOW_ALERT_WEBHOOK" in loaded["llavaflow alert on failure"]


def test_publishing_starts_a_retrain_on_what_was_published_once(deployed: str, project: Path) -> None:
    load_automations(project / "infra" / "automations.yaml")
    publication = publication_of("shapes", "41", None, [SEED])
    time.sleep(HEARD)
    publish(publication)
    publish(publication)
    publish(publication_of("shapes", "42", None, [SEED]))
    wait_for(lambda: bool(runs_tagged("shapes-41") and runs_tagged("shapes-42")))
    (run,) = runs_tagged("shapes-41")
    assert run.parameters == {"experiment": "shapes", "overrides": ["data.source.seed=41"], "tag": "shapes-41"}


def test_a_failure_and_a_decision_are_posted_to_the_webhook(deployed: str, project: Path, alerts: list[str]) -> None:
    from prefect.events.worker import EventsWorker

    from flows.events import FAILED, PROMOTED, tell

    loaded = dict(load_automations(project / "infra" / "automations.yaml"))
    assert all("left out" not in done for done in loaded.values())
    time.sleep(HEARD)
    tell(FAILED, "llavaflow.experiment.shapes", {"error": "x"})
    tell(PROMOTED, "llavaflow.model.llavaflow", {"challenger": '2"', "run": "shapes-1"})
    EventsWorker.drain_all(timeout=10)
    wait_for(lambda: len(alerts) >= 2)
    assert any("llavaflow.model.promoted: version 2" in alert for alert in alerts)
    assert any("failed or crashed" in alert for alert in alerts)


def test_a_backfill_asked_for_again_finds_its_runs(deployed: str) -> None:
    wanted = wanted_runs("shapes", ["40", "41"], [SEED])
    first, again = backfill(wanted), backfill(wanted)
    assert [run.version for run in first] == ["40", "41"]
    assert [run.flow_run for run in first] == [run.flow_run for run in again]
    assert len(runs_tagged("backfill-40")) == len(runs_tagged("backfill-41")) == 1


def test_a_deployment_that_does_not_exist_is_named(deployed: str) -> None:
    with pytest.raises(ConfigError, match="pipeline/nothing"):
        backfill(wanted_runs("shapes", ["40"], [SEED]), "pipeline/nothing")


def test_a_run_that_the_flow_cannot_take_is_refused_by_the_server(deployed: str) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("pipeline/retrain")
        with pytest.raises(PrefectHTTPStatusError):
            client.create_flow_run_from_deployment(deployment.id, parameters={"experiment": ["no", "text"]})
