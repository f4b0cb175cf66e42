"""The tables of feedback, in any database that SQLAlchemy knows; images lie in it too, so that one delete is whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tasks.errors import EnvironmentProblem

METADATA = sa.MetaData()
ITEMS = sa.Table(
    "feedback_items", METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(255), nullable=False, index=True),
    sa.Column("conversation", sa.String(64), nullable=False, index=True),
    sa.Column("created", sa.String(40), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("item", sa.Text, nullable=False),
    sa.Column("review", sa.Text, nullable=False),
)
IMAGES = sa.Table(
    "feedback_images", METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),
    sa.Column("suffix", sa.String(8), nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
SHOWN = sa.Table(
    "feedback_shown", METADATA,
    sa.Column("item", sa.String(64), primary_key=True),
    sa.Column("sha256", sa.String(64), primary_key=True, index=True),
)
"""Which item shows which image."""
EXPORTED = sa.Table(
    "feedback_exported", METADATA,
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("item", sa.String(64), primary_key=True, index=True),
    sa.Column("sample", sa.String(160), nullable=False),
)
"""Which sample of which export came of an item. Stays when the item is deleted: models may have learned from it."""
BUSY_SECONDS = 30.0


class Database:
    """The database at a URL. Connects on first use."""

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url)
        except SQLAlchemyError as error:
            raise EnvironmentProblem("LLAVAFLOW_FEEDBACK_URL is no URL that SQLAlchemy can read; mend it") from error
        self.shown = self._url.render_as_string(hide_password=True)
        self._engine: sa.Engine | None = None

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction. Raises EnvironmentProblem if the database cannot be used."""
        try:
            with self._connected().begin() as connection:
                yield connection
        except (SQLAlchemyError, ImportError, OSError) as error:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            raise EnvironmentProblem(f"feedback in {self.shown} cannot be used: {cause}; see to it") from error

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            sqlite = self._url.get_backend_name() == "sqlite"
            if sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            options = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
            engine = sa.create_engine(self._url, poolclass=sa.NullPool, **options)
            if sqlite:
                sa.event.listen(engine, "connect", _tune)
            _create(engine)
            self._engine = engine
        return self._engine


def _create(engine: sa.Engine) -> None:
    """Create what is missing. Another process may do so at the same time; then the next try finds it there."""
    for _ in METADATA.tables:
        try:
            METADATA.create_all(engine)
            return
        except SQLAlchemyError:
            continue
    METADATA.create_all(engine)


def _tune(connection: Any, record: object) -> None:
    """Readers go on while one writes; what was deleted is overwritten, not only unlinked."""
    for pragma in ("journal_mode=WAL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")
