"""Lock and audit trail of promotions as two small tables of a database, for machines that share no file system.

The lease is one row: who holds it, a token that grows with every holder, and until when. It is taken by one
conditional UPDATE. While the alias is moved, the holder keeps a transaction open in which it renewed its row: nobody
can take the lease over in the meantime, however long it sleeps, and a holder whose token is old cannot begin. Times
are those of the database, so that machines need not agree on theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord
from tasks.register.lock import LEASE_SECONDS, POLL_SECONDS, WAIT_SECONDS, Hold, lost, new_holder, wait_for

METADATA = sa.MetaData()
LEASES = sa.Table(
    "registry_leases",
    METADATA,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("holder", sa.String(255), nullable=False),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)
AUDIT = sa.Table(
    "registry_audit",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("record", sa.Text, nullable=False),
)
CLOCKS = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT unix_timestamp(sysdate(3))",
}
"""Seconds since the epoch by the database's own clock."""
BUSY_SECONDS = 60.0


class Database:
    """The database at a SQLAlchemy URL. Connects on first use; waits `busy_seconds` for SQLite's lock."""

    def __init__(self, url: str, busy_seconds: float = BUSY_SECONDS) -> None:
        self._busy_seconds = busy_seconds
        try:
            self._url = sa.make_url(url)
        except SQLAlchemyError as error:
            raise RegistryError("LLAVAFLOW_LEDGER_URL is no URL that SQLAlchemy can read; mend it") from error
        self.shown = self._url.render_as_string(hide_password=True)
        self._engine: sa.Engine | None = None

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction. Raises RegistryError where the database cannot be used."""
        try:
            with self._connected().begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except (SQLAlchemyError, ImportError, OSError) as error:
            cause = " ".join(str(getattr(error, "orig", None) or error).split())
            raise RegistryError(f"the audit trail in {self.shown} cannot be used: {cause}; see to it") from error

    def _connected(self) -> sa.Engine:
        if self._engine is None:
            sqlite = self._url.get_backend_name() == "sqlite"
            if sqlite and self._url.database:
                Path(self._url.database).parent.mkdir(parents=True, exist_ok=True)
            options = {"connect_args": {"timeout": self._busy_seconds}} if sqlite else {"pool_pre_ping": True}
            engine = sa.create_engine(self._url, poolclass=sa.NullPool, **options)
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


class DatabaseAudit:
    """The trail as rows, in the order of their numbers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, record: AuditRecord) -> None:
        """See `AuditStore`."""
        with self._database.transaction() as connection:
            connection.execute(sa.insert(AUDIT).values(record=record.model_dump_json()))

    def records(self) -> list[AuditRecord]:
        """See `AuditStore`. Raises RegistryError if a row is no record: the trail was edited."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.select(AUDIT).order_by(AUDIT.c.number)).all()
        found = []
        for number, text in rows:
            try:
                found.append(AuditRecord.model_validate_json(text))
            except ValidationError as error:
                raise RegistryError(
                    f"{self._database.shown}: row {number} of registry_audit is no audit record; restore it"
                ) from error
        return found


class DatabaseHold:
    """The lease, held under a token."""

    def __init__(self, database: Database, name: str, token: int, seconds: float) -> None:
        self._database, self._name, self._token, self._seconds = database, name, token, seconds

    @contextmanager
    def fenced(self) -> Iterator[None]:
        """See `Hold`. The renewed row stays locked until the block is over."""
        with self._database.transaction() as connection:
            now = _now(connection)
            ours = sa.and_(LEASES.c.name == self._name, LEASES.c.token == self._token, LEASES.c.until > now)
            renewed = connection.execute(sa.update(LEASES).where(ours).values(until=now + self._seconds))
            if renewed.rowcount != 1:
                raise lost(f"{self._name} in {self._database.shown}")
            yield

    def release(self) -> None:
        """Let the next have it."""
        ours = sa.and_(LEASES.c.name == self._name, LEASES.c.token == self._token)
        with self._database.transaction() as connection:
            connection.execute(sa.update(LEASES).where(ours).values(until=0.0))


@contextmanager
def database_lock(
    database: Database, name: str, *, seconds: float = LEASE_SECONDS, timeout: float = WAIT_SECONDS,
    poll: float = POLL_SECONDS,
) -> Iterator[Hold]:
    """Hold the lease of a name for `seconds` at a time. Raises RegistryError after `timeout` seconds of waiting."""
    holder, tokens = new_holder(), list[int]()

    def take() -> bool:
        token = _take(database, name, holder, seconds)
        tokens.extend([] if token is None else [token])
        return token is not None

    wait_for(take, f"{name} in {database.shown}", timeout, poll)
    hold = DatabaseHold(database, name, tokens[0], seconds)
    try:
        yield hold
    finally:
        hold.release()


def _take(database: Database, name: str, holder: str, seconds: float) -> int | None:
    """The token of the lease if it was free, else None."""
    try:
        with database.transaction() as connection:
            if connection.execute(sa.select(LEASES.c.name).where(LEASES.c.name == name)).first() is None:
                connection.execute(sa.insert(LEASES).values(name=name, holder="", token=0, until=0.0))
    except IntegrityError:
        pass  # another was faster to make the row
    with database.transaction() as connection:
        now = _now(connection)
        free = sa.and_(LEASES.c.name == name, LEASES.c.until <= now)
        taken = connection.execute(
            sa.update(LEASES).where(free).values(holder=holder, token=LEASES.c.token + 1, until=now + seconds)
        )
        if taken.rowcount != 1:
            return None
        return int(connection.execute(sa.select(LEASES.c.token).where(LEASES.c.name == name)).scalar_one())


def _now(connection: sa.Connection) -> float:
    clock = CLOCKS.get(connection.dialect.name)
    if clock is None:
        raise RegistryError(f"{connection.dialect.name}: no clock of this database is known; use SQLite or Postgres")
    return float(connection.execute(sa.text(clock)).scalar_one())
