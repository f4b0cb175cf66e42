"""Feedback in MLflow: a trace of the answer, and on it what a person said of it (MLflow's `log_feedback`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.errors import EnvironmentProblem
from tasks.feedback.records import Item, Message
from tasks.tracking import MlflowStore

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

EXPERIMENT = "llavaflow-chat"
ITEM_TAG, CONVERSATION_TAG, VERSION_TAG = "llavaflow.feedback", "llavaflow.conversation", "llavaflow.answered_by"
GOOD = {"good": True, "bad": False}


class MlflowTraces:
    """`tasks.feedback.traces.Traces` on an MLflow server. It holds words and digests of images, no images."""

    def __init__(self, store: MlflowStore) -> None:
        self._store = store

    def tell(self, item: Item) -> str:
        """See `Traces`. Raises EnvironmentProblem if the server cannot be used."""
        from mlflow.exceptions import MlflowException

        client = self._store.client()
        try:
            trace = self._found(client, item) or self._made(client, item)
            self._unsaid(client, trace, item)
            self._said(trace, item)
        except (MlflowException, OSError) as error:
            raise EnvironmentProblem(f"MLflow did not take the feedback: {str(error).splitlines()[0]}") from error
        return trace

    def forget(self, traces: Sequence[str]) -> int:
        """See `Traces`. Raises EnvironmentProblem if the server cannot be used."""
        from mlflow.exceptions import MlflowException

        client = self._store.client()
        if not traces:
            return 0
        try:
            return int(client.delete_traces(self._store.experiment(EXPERIMENT), trace_ids=[*traces]))
        except (MlflowException, OSError) as error:
            raise EnvironmentProblem(f"MLflow did not delete the traces: {str(error).splitlines()[0]}") from error

    def _found(self, client: MlflowClient, item: Item) -> str | None:
        """The trace that an earlier word on the same answer made."""
        query = f"tags.`{ITEM_TAG}` = '{item.id}'"
        found = client.search_traces(
            locations=[self._store.experiment(EXPERIMENT)], filter_string=query, max_results=1, include_spans=False
        )
        return str(found[0].info.trace_id) if found else None

    def _made(self, client: MlflowClient, item: Item) -> str:
        import mlflow

        tags = {ITEM_TAG: item.id, CONVERSATION_TAG: item.conversation, VERSION_TAG: ", ".join(item.models)}
        span = client.start_trace(
            "answer" if item.kind == "answer" else "comparison", span_type="CHAT_MODEL",
            inputs={"messages": _told(item.messages[:-1])}, tags=tags,
            experiment_id=self._store.experiment(EXPERIMENT),
        )
        sides = [side for side in (item.messages, item.other) if side]
        client.end_trace(span.trace_id, outputs={"answers": _told([side[-1] for side in sides])})
        mlflow.flush_trace_async_logging()
        return str(span.trace_id)

    def _unsaid(self, client: MlflowClient, trace: str, item: Item) -> None:
        """What the user said of it before: the last word counts, and counts once."""
        import mlflow

        for earlier in client.get_trace(trace).info.assessments:
            if earlier.source.source_id == item.user:
                mlflow.delete_assessment(trace, earlier.assessment_id)

    def _said(self, trace: str, item: Item) -> None:
        import mlflow
        from mlflow.entities import AssessmentSource, AssessmentSourceType

        source = AssessmentSource(AssessmentSourceType.HUMAN, item.user)
        known: dict[str, Any] = {"consent": item.consent, "conversation": item.conversation}
        name, value = ("good", GOOD[item.verdict]) if item.kind == "answer" else ("vote", item.verdict)
        mlflow.log_feedback(
            trace_id=trace, name=name, value=value, source=source, rationale=item.reason or None, metadata=known
        )
        if item.correction:
            mlflow.log_expectation(trace_id=trace, name="correction", value=item.correction, source=source)


def _told(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [{"role": one.role, "content": one.text, "images": list(one.images)} for one in messages]
