"""`llavaflow feedback delete USER`: items, images, exports and traces go, and later runs leave the images out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.feedback.learners import learners_of
from flows.lineage.records import Upward
from flows.lineage.versions import Versions
from tasks.errors import DataError, LlavaflowError
from tasks.feedback.exporting import remove_samples
from tasks.feedback.store import FeedbackStore, Removed
from tasks.feedback.traces import Traces
from tasks.storage import Store
from tasks.withdrawn import Withdrawal, WithdrawnImages


@dataclass(frozen=True)
class Places:
    """Everything that may hold a user's feedback."""

    feedback: FeedbackStore
    artifacts: Store
    exports: Path
    uploads: Path
    withdrawn: WithdrawnImages
    traces: Traces | None


@dataclass(frozen=True)
class Deleted:
    """What was deleted, and what had learned from it."""

    removed: Removed
    versions: tuple[str, ...]
    """Exports that were written anew without it."""
    traces: int
    withdrawn: tuple[str, ...]
    learned: Upward | None
    """None if no export ever held any of it."""
    troubles: tuple[str, ...]
    """What could not be deleted, and why."""


def delete(user: str, places: Places, registry: Versions, who: str, when: str) -> Deleted:
    """Delete a user's items. Raises DataError if there are none: a mistyped name must not look like success."""
    items = [stored.item.id for stored in places.feedback.items(user=user)]
    if not items:
        raise DataError(f"user {user!r} has no feedback here; names are in: llavaflow feedback review --json")
    learned = learners_of(items, places.feedback, places.artifacts, registry)
    samples = {sample for _, _, sample in places.feedback.exported(items)}
    versions = remove_samples(places.exports, samples)
    removed = places.feedback.delete(user)
    for image in removed.images:
        for path in places.uploads.glob(f"{image}.*"):
            path.unlink(missing_ok=True)
    fresh = _withdraw(places.withdrawn, removed.images, who, when)
    traces, troubles = _forget(places.traces, removed.traces)
    return Deleted(removed, tuple(versions), traces, tuple(fresh), learned, troubles)


def lines(user: str, done: Deleted) -> list[str]:
    """What became of it, for the terminal."""
    removed = done.removed
    told = [
        f"deleted of {user}: {len(removed.items):,} items, {len(removed.images):,} images, {done.traces:,} traces",
        *(f"  item {item}" for item in removed.items),
        *(f"written anew without it: feedback {version}" for version in done.versions),
        *(f"withdrawn from later runs: image {image}" for image in done.withdrawn),
        *(f"warning: {trouble}" for trouble in done.troubles),
    ]
    if done.learned is None or not done.learned.uses:
        return [*told, "no shard set here holds any of it: nothing learned from it"]
    found = [f"learned from it: version {one.name}{_aliases(one.aliases)}, {one.why}" for one in done.learned.versions]
    unknown = [f"not known: {one}" for one in done.learned.unknown]
    remedy = "the next run leaves it out (llavaflow plan); older artifacts go with: llavaflow gc --apply"
    return [*told, *(found or ["artifacts hold it, but no registered version learned from it"]), *unknown, remedy]


def _aliases(names: Iterable[str]) -> str:
    said = ", ".join(names)
    return f" ({said})" if said else ""


def _withdraw(kept: WithdrawnImages, images: Iterable[str], who: str, when: str) -> list[str]:
    already = kept.now()
    fresh = [image for image in images if image not in already]
    kept.append(
        Withdrawal(sha256=image, event="withdrawn", time=when, who=who, reason="its user's feedback was deleted")
        for image in fresh
    )
    return fresh


def _forget(traces: Traces | None, ids: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    if not ids:
        return 0, ()
    if traces is None:
        return 0, (f"{len(ids)} traces are in an MLflow that is not configured now: {', '.join(ids)}",)
    try:
        return traces.forget(ids), ()
    except LlavaflowError as error:
        return 0, (f"{error}; delete by hand: {', '.join(ids)}",)
