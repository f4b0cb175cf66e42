"""The ledger's tables and how a database is opened: any that SQLAlchemy knows with ON CONFLICT, SQLite by default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

METADATA = sa.MetaData()
UNDER_WAY = sa.literal_column("state") == sa.literal_column("'in_flight'")
"""Rows that were sent and have no outcome; without parameters, since an index is made of it."""
PREFIXES = sa.Table(
    "prefixes",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("messages", sa.Text, nullable=False),
)
"""The first messages of requests: thousands share their system message and examples."""
REQUESTS = sa.Table(
    "requests",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(64), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reply", sa.Text),
    sa.Column("finish_reason", sa.String(64)),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("usd", sa.Float),
    sa.Column("failure", sa.Text),
    sa.Column("sends", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("answered", sa.Float),
    sa.Column("lease_until", sa.Float),
    sa.Column("owner", sa.String(255)),
    sa.Column("served", sa.String(255)),
    sa.Index("requests_under_way", "created", sqlite_where=UNDER_WAY, postgresql_where=UNDER_WAY),
)
LOCK_SECONDS = 60.0
WRITERS = 0x11A7A
"""Number of the lock that writers hold in Postgres."""
DIALECTS = ("postgresql", "sqlite")


def insert_new(table: sa.Table, dialect: str) -> sa.Insert:
    """An INSERT that leaves alone what is there already."""
    if dialect == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()


def only_writer(connection: sa.Connection) -> None:
    """Let no other worker write before this transaction ends, as SQLite does by itself.

    In Postgres workers that write several rows each could else wait for each other: an INSERT waits for an UPDATE of
    the row it might meet.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))


def open_engine(url: sa.URL) -> sa.Engine:
    """The database at a URL, with the tables in it."""
    if url.get_backend_name() not in DIALECTS:
        raise ImportError(f"the ledger works on {' and '.join(DIALECTS)}, not on {url.get_backend_name()}")
    engine = _engine(url)
    _create(engine)
    return engine


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        return sa.create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": LOCK_SECONDS})
    sa.event.listen(engine, "connect", _tune)
    return engine


def _create(engine: sa.Engine) -> None:
    """Create what is missing. Another worker may do so at the same time; then the next try finds it there."""
    for _ in METADATA.tables:
        try:
            METADATA.create_all(engine)
            _add_columns(engine)
            return
        except SQLAlchemyError:
            continue
    METADATA.create_all(engine)
    _add_columns(engine)


def _add_columns(engine: sa.Engine) -> None:
    """Add the columns that came later to a ledger from before; older rows have nothing in them."""
    there = {column["name"] for column in sa.inspect(engine).get_columns(REQUESTS.name)}
    for column in REQUESTS.columns:
        if column.name not in there:
            kind = column.type.compile(engine.dialect)
            with engine.begin() as connection:
                connection.execute(sa.text(f"ALTER TABLE {REQUESTS.name} ADD COLUMN {column.name} {kind}"))


def _tune(connection: Any, record: object) -> None:
    """WAL lets readers go on while one writes; FULL makes a commit survive a power cut."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
