"""Which models learned from items of feedback: from the items to exported samples, shards, checkpoints, versions."""

from __future__ import annotations

from collections.abc import Sequence

from flows.feedback.items import samples_of
from flows.lineage.catalogue import read_catalogue
from flows.lineage.records import Upward
from flows.lineage.upward import Upwards
from flows.lineage.versions import Versions, known_versions
from tasks.feedback.store import FeedbackStore
from tasks.storage import Store


def learners_of(
    items: Sequence[str], feedback: FeedbackStore, store: Store, registry: Versions
) -> Upward | None:
    """What came of items, by their whole ids; None if no export ever held one of them."""
    samples = samples_of(items, feedback)
    if not samples:
        return None
    upwards = Upwards(store, read_catalogue(store), known_versions(registry))
    return upwards.samples(f"feedback {', '.join(sorted(items))}", samples)
