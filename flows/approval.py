"""Where a person is asked: the flow run that waits, and the answer that `llavaflow approve` and `reject` give.

The question and its answer lie in the audit trail. A run of a deployment is suspended meanwhile and frees its worker;
resumed, it starts over, finds every stage cached and the answer given. A run on the command line ends, and the answer
alone completes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from flows.outcome import Ending
from tasks.artifacts import Promotion
from tasks.progress import Progress
from tasks.register.approval import approve, reject
from tasks.register.desk import Desk
from tasks.register.registry import MlflowRegistry
from tasks.register.run import check_champion


@dataclass(frozen=True)
class Answered:
    """What came of an answer, and what is to be said of the flow run that waited for it."""

    promotion: Promotion
    flow: str


def suspendable() -> str:
    """Prefect's id of the present flow run, if it belongs to a deployment and so can be suspended; else ""."""
    from prefect.runtime import deployment, flow_run

    return str(flow_run.id) if deployment.id and flow_run.id else ""


def suspend_if_asked(ending: Ending, hours: float) -> None:
    """Suspend the present flow run, once a question, if a person is asked and it can be suspended."""
    decision = ending.decision
    if decision is None or decision.verdict != "needs_approval" or not suspendable():
        return
    from prefect.flow_runs import suspend_flow_run

    # It is the code after this line that does not run: Prefect ends the process by a signal of its own. When the flow
    # run is resumed and nobody has answered, the key keeps it from waiting for the same answer again.
    suspend_flow_run(timeout=round(hours * 3600), key=f"approve-{decision.challenger}")


def give_answer(
    desk: Desk, registry: MlflowRegistry, run: str, reason: str, *, yes: bool, progress: Progress
) -> Answered:
    """Approve or reject what a run asked about, check the new champion, and resume the flow run that is suspended.

    Raises RegistryError if the run does not wait.
    """
    promotion, flow_run = approve(desk, run, reason) if yes else reject(desk, run, reason)
    if yes:
        promotion = check_champion(desk, registry, promotion, progress)
    _tell(registry.name, promotion, run)
    return Answered(promotion, _resume(flow_run) if flow_run else "")


def _tell(model: str, promotion: Promotion, run: str) -> None:
    if os.environ.get("PREFECT_API_URL"):
        from flows.events import tell_decision

        tell_decision(model, promotion, run)


def _resume(flow_run: str) -> str:
    """Resume a flow run; the answer stands whether or not that can be done."""
    from uuid import UUID

    if not os.environ.get("PREFECT_API_URL"):
        return f"flow run {flow_run} waits still: resume it where PREFECT_API_URL is set"
    from prefect.exceptions import FlowPauseTimeout, NotPausedError, PrefectHTTPStatusError
    from prefect.flow_runs import resume_flow_run

    try:
        resume_flow_run(UUID(flow_run))
    except (FlowPauseTimeout, NotPausedError, PrefectHTTPStatusError, RuntimeError, OSError) as error:
        return f"flow run {flow_run} was not resumed: {' '.join(str(error).split())}"
    return f"flow run {flow_run} goes on"
