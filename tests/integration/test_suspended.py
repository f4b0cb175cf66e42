"""A flow run of a deployment is suspended for an answer, frees its process, and goes on once there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.approval import suspend_if_asked, suspendable
from flows.outcome import Ending
from flows.prefect_home import prefect_api
from tasks.artifacts import Promotion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

answers: list[str] = []
begun: list[str] = []


@flow(name="asks", persist_result=False)
def asks() -> str:
    """What the pipeline does at its end."""
    begun.append(suspendable())
    verdict = answers[-1] if answers else "needs_approval"
    decision = Promotion.model_validate(
        {"verdict": verdict, "reasons": (), "challenger": "2", "champion_before": "1", "champion_after": "1"}
    )
    suspend_if_asked(Ending(decision=decision), hours=1)
    return verdict


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A server in a process of its own: Prefect's test harness would load the server's tables into this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.delenv("PREFECT_API_URL", raising=False)
        with prefect_api() as is_up:
            is_up()
            with temporary_settings({PREFECT_API_URL: os.environ["PREFECT_API_URL"]}):
                yield


def state_of(run: FlowRun) -> State:
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
    assert state is not None
    return state


def test_without_a_deployment_it_ends_at_once() -> None:
    assert asks() == "needs_approval"
    assert begun.pop() == ""


def test_a_run_of_a_deployment_waits_suspended_and_ends_after_the_answer() -> None:
    from flows.approval import _resume

    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(asks), "waits")
        run = client.create_flow_run_from_deployment(deployment)
    with pytest.raises(Pause):  # which ends the process of a worker
        run_flow(asks, flow_run=run, return_type="state")
    assert begun.pop() == str(run.id)
    assert state_of(run).name == "Suspended", "the process is done with it, the run is not"
    answers.append("promote")
    assert _resume(str(run.id)) == f"flow run {run.id} goes on"
    assert "was not resumed" in _resume(str(run.id)), "it waits no more"
    with get_client(sync_client=True) as client:
        resumed = client.read_flow_run(run.id)
    run_flow(asks, flow_run=resumed, return_type="state")
    assert state_of(run).is_completed() and begun.pop() == str(run.id)
