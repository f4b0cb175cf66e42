"""What the ledger remembers of requests of one form: tokens, time and replies. Reads only, and makes no ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tasks.artifacts import canonical_json
from tasks.chat.records import Message, Reply
from tasks.ledger.tables import PREFIXES, REQUESTS

MOST = 500
"""Latest answers that are looked at."""


@dataclass(frozen=True)
class Remembered:
    """An answered request."""

    reply: Reply
    seconds: float
    """From when it was sent to when its answer was written down."""


def remembered(url: str, purpose: str, model: str, before: Sequence[Message]) -> list[Remembered]:
    """The latest answers of a model to requests that begin with these messages and have one more.

    Empty where there is no ledger or it cannot be read: a plan does without.
    """
    engine = _reading(url)
    if engine is None:
        return []
    prefix = canonical_json([message.json() for message in before])
    try:
        with engine.connect() as connection:
            known = sa.select(PREFIXES.c.digest).where(PREFIXES.c.messages == prefix)
            digest = connection.execute(known).scalar()
            if digest is None:
                return []
            rows = connection.execute(_query(purpose, model, digest)).mappings().all()
            return [_remembered(row) for row in rows]
    except SQLAlchemyError:
        return []
    finally:
        engine.dispose()


def _reading(url: str) -> sa.Engine | None:
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed)
        if not parsed.database or not Path(parsed.database).is_file():
            return None
        return sa.create_engine(f"sqlite:///file:{Path(parsed.database).resolve()}?mode=ro&uri=true")
    except (SQLAlchemyError, ImportError):
        return None


def _query(purpose: str, model: str, prefix: str) -> sa.Select[tuple[object, ...]]:
    of_form = REQUESTS.c.request.contains(f'"prefix":"{prefix}"', autoescape=True)
    wanted = sa.and_(
        REQUESTS.c.purpose == purpose, REQUESTS.c.model == model, REQUESTS.c.state == "answered", of_form
    )
    names = ("reply", "finish_reason", "input_tokens", "output_tokens", "created", "answered")
    latest = REQUESTS.c.answered.desc()
    return sa.select(*(REQUESTS.c[name] for name in names)).where(wanted).order_by(latest, REQUESTS.c.key).limit(MOST)


def _remembered(row: sa.RowMapping) -> Remembered:
    reply = Reply(row["reply"], row["input_tokens"], row["output_tokens"], row["finish_reason"])
    return Remembered(reply, max(0.0, row["answered"] - row["created"]))
