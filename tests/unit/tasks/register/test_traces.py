from __future__ import annotations

from pathlib import Path

import pytest

from tasks.chat_page.desk import Desk
from tasks.chat_page.endpoint import Endpoint
from tasks.chat_page.opinions import keep
from tasks.chat_page.pictures import Uploads
from tasks.errors import EnvironmentProblem
from tasks.feedback.records import Item
from tasks.register.traces import MlflowTraces
from tests.fakes.mlflow_store import fresh_store
from tests.unit.tasks.feedback.items import fresh_store as fresh_feedback
from tests.unit.tasks.feedback.items import item


def test_feedback_stands_on_a_trace_and_the_last_word_counts_once(tmp_path: Path) -> None:
    store = fresh_store(tmp_path)
    traces = MlflowTraces(store)
    first = traces.tell(item("a", "What?", "This.", verdict="good"))
    again = traces.tell(item("a", "What?", "This.", verdict="bad", correction="That."))
    assert first == again
    trace = store.client().get_trace(first)
    said = {one.name: (one.value, one.source.source_id) for one in trace.info.assessments}
    assert said == {"good": (False, "ann"), "correction": ("That.", "ann")} and len(trace.info.assessments) == 2
    assert traces.forget([first]) == 1 and traces.forget([]) == 0


class Refusing:
    """An MLflow that takes nothing."""

    def tell(self, item: Item) -> str:
        raise EnvironmentProblem("no server answers")

    def forget(self, traces: object) -> int:
        return 0


def test_where_mlflow_fails_the_database_has_it_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = fresh_feedback()
    desk = Desk(Endpoint("http://127.0.0.1:1/v1"), Uploads(tmp_path), store, Refusing())
    keep(desk, item("a"))
    assert [one.item.id for one in store.items()] == ["a"]
    assert "no server answers" in caplog.text
