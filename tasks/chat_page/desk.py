"""What the page works with: the endpoint, uploads, the store of feedback, examples, and what differs in tests."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tasks.chat_page.endpoint import Endpoint
from tasks.chat_page.pictures import Limits, Uploads
from tasks.feedback.store import FeedbackStore
from tasks.feedback.traces import Traces


@dataclass(frozen=True)
class Example:
    """An image and a question about it that a click asks."""

    image: Path
    question: str


def utc_now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def coin() -> bool:
    """Heads or tails: which model of a comparison is A."""
    return bool(secrets.randbits(1))


def token() -> str:
    """A word that nobody can guess."""
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Desk:
    """The page's surroundings."""

    endpoint: Endpoint
    uploads: Uploads
    store: FeedbackStore
    traces: Traces | None = None
    examples: tuple[Example, ...] = ()
    compared: tuple[str, str] | None = None
    """The two models to compare; by default champion and challenger, or the first two that the endpoint offers."""
    limits: Limits = field(default_factory=Limits)
    flip: Callable[[], bool] = coin
    now: Callable[[], str] = utc_now
    new_id: Callable[[], str] = token


def pair_of(models: list[str], wanted: tuple[str, str] | None) -> tuple[str, str] | None:
    """The two models to compare, of those that an endpoint offers; None if it does not offer two."""
    if wanted is not None:
        return wanted if set(wanted) <= set(models) else None
    named = tuple(next((model for model in models if alias in model), "") for alias in ("champion", "challenger"))
    if all(named) and named[0] != named[1]:
        return named[0], named[1]
    unlike = list(dict.fromkeys(models))
    return (unlike[0], unlike[1]) if len(unlike) > 1 else None
