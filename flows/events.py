"""Events that runs emit for automations (`infra/automations.yaml`): what was published, decided, or went wrong.

An event tells; nothing waits for it and nothing fails with it. Where no Prefect API is configured none is sent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect.events import emit_event
from prefect.exceptions import EventTooLarge
from prefect.runtime import flow_run
from pydantic import JsonValue

from flows.outcome import cause_of
from tasks.errors import BudgetExhausted

if TYPE_CHECKING:
    from flows.run import Run
    from tasks.artifacts import Promotion

PUBLISHED = "llavaflow.data.published"
"""A version of a data set is there to be trained on (`llavaflow publish`)."""
FEEDBACK = "llavaflow.feedback"
"""Enough new feedback was accepted: a version of it is there to be trained on (`llavaflow feedback export`)."""
PROMOTED = "llavaflow.model.promoted"
HELD = "llavaflow.model.held"
ASKED = "llavaflow.model.needs_approval"
WITHDRAWN = "llavaflow.champion.withdrawn"
"""A champion that did not answer as it was registered was taken back."""
FAILED = "llavaflow.run.failed"
BUDGET = "llavaflow.budget.reached"
"""A run ended early because the money limit of its experiment was reached."""

DECISIONS = {"promote": PROMOTED, "hold": HELD, "needs_approval": ASKED}


def tell(event: str, resource: str, payload: Mapping[str, JsonValue], labels: Mapping[str, str] | None = None) -> None:
    """Emit an event about a resource, within a flow run naming it as related. Never raises for a server's sake."""
    if not os.environ.get("PREFECT_API_URL"):
        return  # Prefect would start a server for it
    related = []
    if flow_run.id:
        related = [{"prefect.resource.id": f"prefect.flow-run.{flow_run.id}", "prefect.resource.role": "flow-run"}]
    try:
        emit_event(event, {"prefect.resource.id": resource, **(labels or {})}, related=related, payload=dict(payload))
    except EventTooLarge as error:
        logging.getLogger("llavaflow").warning("event %s was not sent: %s", event, error)


def tell_decision(model: str, decision: Promotion, run: str) -> None:
    """Tell what became of a challenger; a champion that was taken back by itself is an event of its own."""
    taken_back = decision.verdict == "hold" and decision.champion_before == decision.challenger
    event = WITHDRAWN if taken_back else DECISIONS[decision.verdict]
    labels = {"llavaflow.model.version": decision.challenger}
    tell(event, f"llavaflow.model.{model}", {**decision.model_dump(mode="json"), "run": run}, labels)


@contextmanager
def failure_told(run: Run) -> Iterator[None]:
    """Tell of a run that fails, and goes on failing. One that somebody interrupts or cancels has not failed."""
    try:
        yield
    except Exception as error:
        event = BUDGET if isinstance(error, BudgetExhausted) else FAILED
        told: dict[str, JsonValue] = {"run": run.id, "tag": run.tag, "error": cause_of(error)[:2000]}
        tell(event, f"llavaflow.experiment.{run.experiment.id}", told)
        raise
