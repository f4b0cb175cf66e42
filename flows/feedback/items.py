"""Which items of feedback a word means, and which exported samples came of them."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.errors import DataError
from tasks.feedback.store import FeedbackStore


def samples_of(items: Sequence[str], feedback: FeedbackStore) -> list[str]:
    """Ids of the samples that came of items, in any export; those of deleted items, too."""
    return sorted({sample for _, _, sample in feedback.exported(items)})


def items_of(word: str, feedback: FeedbackStore) -> list[str]:
    """The items that a user's name, or the beginning of an item's id, means. A deleted item is known by its whole id.

    Raises DataError if it means none.
    """
    if of_user := [stored.item.id for stored in feedback.items(user=word)]:
        return of_user
    if any(item == word for _, item, _ in feedback.exported([word])):
        return [word]
    try:
        return [feedback.named(word).item.id]
    except DataError as error:
        raise DataError(f"feedback {word!r} is neither a user nor an item; see: llavaflow feedback review") from error
