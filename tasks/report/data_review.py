"""What the review of the teacher's data shows: plain values. `collect_review` reads them out of artifact folders."""

from __future__ import annotations

from tasks.artifacts import Frozen

REVIEW = "review.html"
"""Its page, beside the report."""


class ReviewedSample(Frozen):
    """A conversation, or a reply that none came of."""

    id: str
    image: bytes | None
    turns: tuple[tuple[str, str], ...] = ()
    """(human or gpt, words), of a conversation."""
    reply: str = ""
    """The last reply, where there is no conversation."""
    reasons: tuple[str, ...] = ()
    """What was wrong with the reply of each attempt."""


class ReviewGroup(Frozen):
    """Samples of one kind, and of one reason where they were rejected."""

    kind: str
    reason: str = ""
    total: int
    shown: tuple[ReviewedSample, ...]


class Distribution(Frozen):
    """Numbers by kind for each of some labels."""

    title: str
    told: str
    """What is counted, in a sentence."""
    rows: tuple[tuple[str, dict[str, int]], ...]
    """Label, and the number of each kind that has any."""


class CheckRate(Frozen):
    """How often one check found fault with a reply."""

    name: str
    replies: int
    """Replies that were not used for it."""
    rejected: int
    """Conversations that were given up for it."""


class Unsupported(Frozen):
    """Objects that answers speak of without support by captions or boxes, in one kind."""

    kind: str
    share: float
    """Samples with any, in percent."""
    mean: float
    """A sample."""
    top: tuple[tuple[str, int], ...]


class DataReview(Frozen):
    """The teacher's data as a person looks it over. Whatever is empty is left out of the page."""

    experiment: str
    run: str
    report: str | None = None
    """The page of the whole run beside it, where there is one."""
    teacher: str = ""
    language: str = ""
    figures: tuple[tuple[str, str], ...] = ()
    """Name and value, at the head of the page."""
    distributions: tuple[Distribution, ...] = ()
    checks: tuple[CheckRate, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    accepted: tuple[ReviewGroup, ...] = ()
    rejected: tuple[ReviewGroup, ...] = ()
