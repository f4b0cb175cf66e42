"""Where feedback is told besides the database: the port to traces. MLflow's side is `tasks/register/traces.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tasks.feedback.records import Item


class Traces(Protocol):
    """Traces of answers, and what people said of them."""

    def tell(self, item: Item) -> str:
        """Note an item on the trace of its answer, which is made if there is none. Returns the trace's id."""

    def forget(self, traces: Sequence[str]) -> int:
        """Delete traces. Returns how many there were."""
