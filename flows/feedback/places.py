"""Where feedback of this installation lies: the database, MLflow's traces, exports, and uploads of the page."""

from __future__ import annotations

from pathlib import Path

from configs.settings import Settings
from tasks.feedback.store import FeedbackStore
from tasks.feedback.tables import Database
from tasks.feedback.traces import Traces


def store_of_feedback(settings: Settings) -> FeedbackStore:
    """The database of LLAVAFLOW_FEEDBACK_URL, else `feedback.db` under the root."""
    return FeedbackStore(Database(settings.feedback_url or f"sqlite:///{settings.home()}/feedback.db"))


def traces_of(settings: Settings) -> Traces | None:
    """The MLflow server that is configured; None where there is none: the database has all of it."""
    if not settings.mlflow_uri:
        return None
    from tasks.register.traces import MlflowTraces
    from tasks.tracking import MlflowStore

    return MlflowTraces(MlflowStore(settings.mlflow_uri))


def exports_of(settings: Settings) -> Path:
    """Where versions of feedback are exported to unless somebody says otherwise."""
    return settings.home() / "feedback"


def uploads_of(settings: Settings) -> Path:
    """Images that the page was sent."""
    return settings.home() / "chat" / "images"
