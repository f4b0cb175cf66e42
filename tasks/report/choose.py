"""Which of many examples a reader is shown: evenly spread, never the best ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from tasks.report.inputs import Answer, Review

T = TypeVar("T")


def evenly(items: Sequence[T], count: int, start: float = 0.0) -> list[T]:
    """At most `count` items from places spread evenly over all, in their order.

    `start` (0..1) is where within its stretch each place lies.
    """
    few = min(count, len(items))
    return [items[int(len(items) * (at + start) / few)] for at in range(few)]


def answers_to_show(answers: Sequence[Answer], *, right: bool, count: int = 10) -> list[Answer]:
    """Right or wrong answers; those to questions with an image first. What could not be read counts as wrong."""
    matching = [answer for answer in answers if (answer.outcome == "right") is right]
    seen = evenly([answer for answer in matching if answer.image], count)
    return seen + evenly([answer for answer in matching if not answer.image], count - len(seen))


def reviews_to_show(reviews: Sequence[Review], count: int = 6) -> list[Review]:
    """Judged answers of every category in turn; one whose judgement failed only where there are no others."""
    judged = [review for review in reviews if review.scores] or list(reviews)
    categories = list(dict.fromkeys(review.category for review in judged))
    each = -(-count // len(categories)) if categories else 0
    # Sets ask about an image once a category: without a start of its own each would be shown the same images.
    queues = [
        evenly([review for review in judged if review.category == category], each, at / len(categories))
        for at, category in enumerate(categories)
    ]
    return [queue[at] for at in range(each) for queue in queues if at < len(queue)][:count]
