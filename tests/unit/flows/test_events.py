from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from prefect.exceptions import EventTooLarge

from flows.events import ASKED, BUDGET, FAILED, HELD, PROMOTED, WITHDRAWN, failure_told, tell, tell_decision
from tasks.artifacts import Promotion
from tasks.errors import BudgetExhausted, DataError


class Named:
    """What of a run its failure is told with."""

    id = "shapes-1"
    tag = "weekly"

    experiment = SimpleNamespace(id="shapes")


class Sent(NamedTuple):
    """An event that was handed to Prefect."""

    event: str
    resource: str
    payload: dict[str, Any]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Sent]:
    """What is handed to Prefect, which would send it in a thread of its own."""
    events: list[Sent] = []

    def emit(event: str, resource: dict[str, str], related: list[dict[str, str]], payload: dict[str, Any]) -> None:
        if len(str(payload)) > 1_500_000:
            raise EventTooLarge(len(str(payload)), 1_500_000)
        assert related == [], "no flow run is under way"
        events.append(Sent(event, resource["prefect.resource.id"], payload))

    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("flows.events.emit_event", emit)
    return events


def decision(verdict: str, challenger: str = "2", before: str | None = "1") -> Promotion:
    return Promotion.model_validate(
        {
            "verdict": verdict, "reasons": ("why",), "challenger": challenger, "champion_before": before,
            "champion_after": challenger,
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("promotion", "event"),
    [
        (decision("promote"), PROMOTED),
        (decision("hold"), HELD),
        (decision("needs_approval"), ASKED),
        (decision("hold", challenger="1", before="1"), WITHDRAWN),
    ],
)
def test_each_decision_is_an_event_about_the_model(promotion: Promotion, event: str, sent: list[Sent]) -> None:
    tell_decision("llavaflow", promotion, "shapes-1")
    assert [one.event for one in sent] == [event]
    assert sent[0].resource == "llavaflow.model.llavaflow"
    assert sent[0].payload["challenger"] == promotion.challenger and sent[0].payload["run"] == "shapes-1"


@pytest.mark.parametrize(("error", "event"), [(BudgetExhausted("used up"), BUDGET), (DataError("bad"), FAILED)])
def test_a_failure_is_told_and_goes_on(error: Exception, event: str, sent: list[Sent]) -> None:
    with pytest.raises(type(error)), failure_told(Named()):  # type: ignore[arg-type]
        raise error
    assert [(one.event, one.resource) for one in sent] == [(event, "llavaflow.experiment.shapes")]
    assert sent[0].payload == {"run": "shapes-1", "tag": "weekly", "error": str(error)}


def test_an_interruption_is_no_failure(sent: list[Sent]) -> None:
    with pytest.raises(KeyboardInterrupt), failure_told(Named()):  # type: ignore[arg-type]
        raise KeyboardInterrupt
    assert sent == []


def test_without_an_api_nothing_is_sent(sent: list[Sent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    tell("a.b", "c.d", {})
    assert sent == []


def test_an_event_that_is_too_large_does_not_end_the_run(sent: list[Sent]) -> None:
    tell("a.b", "c.d", {"text": "x" * 3_000_000})
    assert sent == []
