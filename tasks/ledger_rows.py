"""The ledger's table: one row a request, kept in any database that SQLAlchemy knows, SQLite (WAL) by default.

A row is `in_flight` from before its request is sent until its outcome is committed, then `answered` or `failed`.
An answered row never changes again. Who may send a request is decided by one conditional UPDATE or INSERT, so two
workers on one ledger never pay for the same key: whoever finds a live lease waits for its answer.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from tasks.chat_records import Reply
from tasks.errors import EnvironmentProblem

METADATA = sa.MetaData()
PREFIXES = sa.Table(
    "prefixes",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("messages", sa.Text, nullable=False),
)
"""All messages of a request but the last: thousands of requests share their system message and examples."""
REQUESTS = sa.Table(
    "requests",
    METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("purpose", sa.String(64), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("reply", sa.Text),
    sa.Column("finish_reason", sa.String(64)),
    sa.Column("input_tokens", sa.Integer),
    sa.Column("output_tokens", sa.Integer),
    sa.Column("usd", sa.Float),
    sa.Column("failure", sa.Text),
    sa.Column("sends", sa.Integer, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("answered", sa.Float),
    sa.Column("lease_until", sa.Float),
    sa.Column("owner", sa.String(255)),
)
KEYS_A_QUERY = 500
LOCK_SECONDS = 60.0
_owners = count()

Claim = Literal["ours", "held", "answered"]


@dataclass(frozen=True)
class Entry:
    """A request as it is written down."""

    key: str
    purpose: str
    model: str
    prefix: str
    prefix_messages: str
    request: str


@dataclass(frozen=True)
class Kept:
    """An answer in the ledger and what it cost."""

    reply: Reply
    usd: float


@dataclass(frozen=True)
class OpenRequest:
    """A request that was sent and has no outcome: under way, or left by a worker that died."""

    key: str
    purpose: str
    model: str
    owner: str
    sends: int
    created: float
    lease_until: float
    abandoned: bool
    """Its worker is dead or its lease has run out; the next to ask sends it again."""


class Rows:
    """The rows of one database. Raises EnvironmentProblem where the database cannot be used."""

    def __init__(self, url: str) -> None:
        self._shown = "a url that SQLAlchemy cannot read"
        self._prefixes: set[str] = set()
        try:
            parsed = sa.make_url(url)
            self._shown = parsed.render_as_string(hide_password=True)
            self._engine = _engine(parsed)
            _create(self._engine)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def answers(self, keys: Sequence[str]) -> dict[str, Kept]:
        """The answers that are there, by key."""
        found: dict[str, Kept] = {}
        names = ("key", "reply", "input_tokens", "output_tokens", "finish_reason", "usd")
        columns = [REQUESTS.c[name] for name in names]
        with self._transaction() as connection:
            for start in range(0, len(keys), KEYS_A_QUERY):
                wanted = REQUESTS.c.key.in_(keys[start : start + KEYS_A_QUERY])
                query = sa.select(*columns).where(wanted, REQUESTS.c.state == "answered")
                for key, text, tokens_in, tokens_out, finish, usd in connection.execute(query):
                    found[key] = Kept(Reply(text, tokens_in, tokens_out, finish), usd)
        return found

    def claim(self, entry: Entry, owner: str, now: float, seconds: float) -> Claim:
        """Take the right to send a request, for so many seconds, if nobody else has it."""
        self._keep_prefixes([entry])
        lease = {"state": "in_flight", "owner": owner, "lease_until": now + seconds}
        try:
            with self._transaction() as connection:
                row = connection.execute(sa.select(REQUESTS).where(REQUESTS.c.key == entry.key)).mappings().first()
                if row is None:
                    connection.execute(sa.insert(REQUESTS).values(**_row(entry, now), **lease, sends=1))
                    return "ours"
                if row["state"] == "answered":
                    return "answered"
                if row["state"] == "in_flight" and not _abandoned(row["owner"], row["lease_until"], now):
                    return "held"
                unchanged = [REQUESTS.c[name] == row[name] for name in ("key", "state", "owner", "sends")]
                taken = connection.execute(
                    sa.update(REQUESTS).where(*unchanged).values(**lease, sends=row["sends"] + 1, failure=None)
                )
                return "ours" if taken.rowcount == 1 else "held"
        except IntegrityError:
            return "held"

    def keep(self, key: str, kept: Kept, now: float) -> None:
        """Write an answer down. A row that has one already keeps it."""
        open_row = sa.and_(REQUESTS.c.key == key, REQUESTS.c.state != "answered")
        with self._transaction() as connection:
            connection.execute(sa.update(REQUESTS).where(open_row).values(**_answer(kept, now)))

    def keep_failure(self, key: str, owner: str, failure: str, now: float) -> None:
        """Write down that a request of ours failed; the next to ask sends it again."""
        ours = sa.and_(REQUESTS.c.key == key, REQUESTS.c.owner == owner, REQUESTS.c.state == "in_flight")
        with self._transaction() as connection:
            connection.execute(
                sa.update(REQUESTS).where(ours).values(state="failed", failure=failure, answered=now, lease_until=None)
            )

    def keep_many(self, entries: Sequence[Entry], outcomes: Sequence[Kept], owner: str, now: float) -> None:
        """Write answers down that needed no lease, in one transaction."""
        if not entries:
            return
        self._keep_prefixes(entries)
        rows = [
            {**_row(entry, now), **_answer(kept, now), "owner": owner, "sends": 1}
            for entry, kept in zip(entries, outcomes, strict=True)
        ]
        try:
            with self._transaction() as connection:
                connection.execute(sa.insert(REQUESTS), rows)
        except IntegrityError:
            # Some are there already: failed before, or written by another worker meanwhile.
            for entry, kept in zip(entries, outcomes, strict=True):
                if self.claim(entry, owner, now, LOCK_SECONDS) == "ours":
                    self.keep(entry.key, kept, now)

    def release(self, keys: Iterable[str], owner: str, now: float) -> None:
        """Give up leases of ours: the rows stay visible as in flight, and the next to ask may take them."""
        with self._transaction() as connection:
            for key in keys:
                ours = sa.and_(REQUESTS.c.key == key, REQUESTS.c.owner == owner, REQUESTS.c.state == "in_flight")
                connection.execute(sa.update(REQUESTS).where(ours).values(lease_until=now))

    def open_requests(self, now: float) -> list[OpenRequest]:
        """What was sent and has no outcome, oldest first."""
        names = ("key", "purpose", "model", "owner", "sends", "created", "lease_until")
        query = sa.select(*(REQUESTS.c[name] for name in names)).where(REQUESTS.c.state == "in_flight")
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(REQUESTS.c.created, REQUESTS.c.key)).mappings().all()
        return [OpenRequest(**row, abandoned=_abandoned(row["owner"], row["lease_until"], now)) for row in rows]

    def totals(self) -> list[tuple[str, str, str, int, int, float]]:
        """(purpose, model, state, requests, times sent, USD), sorted."""
        group = (REQUESTS.c.purpose, REQUESTS.c.model, REQUESTS.c.state)
        sums = (sa.func.count(), sa.func.sum(REQUESTS.c.sends), sa.func.coalesce(sa.func.sum(REQUESTS.c.usd), 0.0))
        with self._transaction() as connection:
            rows = connection.execute(sa.select(*group, *sums).group_by(*group).order_by(*group)).all()
        return [(row[0], row[1], row[2], row[3], row[4], float(row[5])) for row in rows]

    def _keep_prefixes(self, entries: Sequence[Entry]) -> None:
        new = {entry.prefix: entry.prefix_messages for entry in entries if entry.prefix not in self._prefixes}
        for digest, messages in sorted(new.items()):
            there = sa.select(PREFIXES.c.digest).where(PREFIXES.c.digest == digest)
            try:
                with self._transaction() as connection:
                    if connection.execute(there).first() is None:
                        connection.execute(sa.insert(PREFIXES).values(digest=digest, messages=messages))
            except IntegrityError:
                pass
            self._prefixes.add(digest)

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> EnvironmentProblem:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        return EnvironmentProblem(
            f"the ledger at {self._shown} cannot be used: {cause}; see to it, or name another by LLAVAFLOW_LEDGER_URL"
        )


def new_owner() -> str:
    """A name for one asker of this process: host, process, the process's start, a number."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start_of(os.getpid())}:{next(_owners)}"


def _abandoned(owner: str | None, lease_until: float | None, now: float) -> bool:
    return owner is None or lease_until is None or lease_until <= now or not _may_live(owner)


def _may_live(owner: str) -> bool:
    """False if the owner was a process of this host that is gone; of other hosts only the lease tells."""
    host, pid, start, _ = owner.rsplit(":", 3)
    return host != socket.gethostname() or (start == _start_of(int(pid)) and start != "gone")


def _start_of(pid: int) -> str:
    """When a process was started, in the kernel's ticks, so that a pid given anew is told apart; "gone" without it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        pass
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return "gone" if state == "Z" else fields[18]


def _row(entry: Entry, now: float) -> dict[str, Any]:
    return {
        "key": entry.key, "purpose": entry.purpose, "model": entry.model, "request": entry.request, "created": now,
    }


def _answer(kept: Kept, now: float) -> dict[str, Any]:
    reply = kept.reply
    return {
        "state": "answered", "reply": reply.text, "finish_reason": reply.finish_reason, "usd": kept.usd,
        "input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens, "failure": None, "answered": now,
        "lease_until": None,
    }


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
            return
        except SQLAlchemyError:
            continue
    METADATA.create_all(engine)


def _tune(connection: Any, record: object) -> None:
    """WAL lets readers go on while one writes; FULL makes a commit survive a power cut."""
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
