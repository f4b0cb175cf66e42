"""The ledger's rows: one a request, from before it is sent.

A row is `in_flight` from before its request is sent until its outcome is committed, then `answered` or `failed`.
An answered row never changes again. Who may send a request is decided by one INSERT or conditional UPDATE, so two
workers on one ledger never pay for the same key: whoever finds a live lease waits for its answer.

Outcomes that landed together and the claims of what is sent next are one transaction (group commit): the cost of a
durable commit is shared by all that waited for it. One worker writes at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tasks.chat.records import Failure, Reply
from tasks.errors import EnvironmentProblem
from tasks.ledger.keys import Entry
from tasks.ledger.owner import abandoned
from tasks.ledger.tables import PREFIXES, REQUESTS, UNDER_WAY, insert_new, only_writer, open_engine

KEYS_A_QUERY = 500
KEPT = [
    REQUESTS.c[name]
    for name in (
        "key", "state", "reply", "input_tokens", "output_tokens", "finish_reason", "usd", "served", "answered",
    )
]

Claim = Literal["ours", "held", "answered"]


@dataclass(frozen=True)
class Kept:
    """An answer in the ledger and what it cost."""

    reply: Reply
    usd: float


@dataclass(frozen=True)
class Landed:
    """The outcome of a request of ours."""

    key: str
    outcome: Reply | Failure
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
        self.prefixes: set[str] = set()
        """Beginnings that the database is known to have."""
        try:
            parsed = sa.make_url(url)
            self._shown = parsed.render_as_string(hide_password=True)
            self._engine = open_engine(parsed)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise self._unusable(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def answers(self, keys: Sequence[str]) -> dict[str, Kept]:
        """The answers that are there, by key."""
        found: dict[str, Kept] = {}
        with self._transaction() as connection:
            for start in range(0, len(keys), KEYS_A_QUERY):
                query = sa.select(*KEPT).where(REQUESTS.c.key.in_(keys[start : start + KEYS_A_QUERY]))
                for key, state, text, tokens_in, tokens_out, finish, usd, served, at in connection.execute(query):
                    if state == "answered":
                        reply = Reply(text, tokens_in, tokens_out, finish, served=served or "", answered=at)
                        found[key] = Kept(reply, usd)
        return found

    def exchange(
        self, landed: Sequence[Landed], claims: Sequence[Entry], owner: str, now: float, lease_until: float
    ) -> dict[str, Claim]:
        """Write outcomes down and take the right to send other requests, in one transaction.

        An answered row keeps its answer; a failed one may be sent again by the next to ask. Returns what came of each
        claim: "ours", "held" by another worker, or "answered" meanwhile.
        """
        if not landed and not claims:
            return {}
        with self._transaction() as connection:
            only_writer(connection)
            self._write(connection, landed, owner, now)
            came = self._claim(connection, claims, owner, now, lease_until)
        self.prefixes.update(entry.prefix for entry in claims)
        return came

    def renew(self, keys: Iterable[str], owner: str, lease_until: float) -> None:
        """Set the end of leases of ours. One that is over is free: the row stays visible as in flight."""
        renewed = [{"of": key, "until": lease_until} for key in sorted(keys)]
        if renewed:
            ours = (REQUESTS.c.key == sa.bindparam("of"), REQUESTS.c.owner == owner, UNDER_WAY)
            with self._transaction() as connection:
                only_writer(connection)
                connection.execute(sa.update(REQUESTS).where(*ours).values(lease_until=sa.bindparam("until")), renewed)

    def open_requests(self, now: float) -> list[OpenRequest]:
        """What was sent and has no outcome, oldest first."""
        names = ("key", "purpose", "model", "owner", "sends", "created", "lease_until")
        query = sa.select(*(REQUESTS.c[name] for name in names)).where(UNDER_WAY)
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(REQUESTS.c.created, REQUESTS.c.key)).mappings().all()
        return [OpenRequest(**row, abandoned=abandoned(row["owner"], row["lease_until"], now)) for row in rows]

    def totals(self) -> list[tuple[str, str, str, int, int, float]]:
        """(purpose, model, state, requests, times sent, USD), sorted."""
        group = (REQUESTS.c.purpose, REQUESTS.c.model, REQUESTS.c.state)
        sums = (sa.func.count(), sa.func.sum(REQUESTS.c.sends), sa.func.coalesce(sa.func.sum(REQUESTS.c.usd), 0.0))
        with self._transaction() as connection:
            rows = connection.execute(sa.select(*group, *sums).group_by(*group).order_by(*group)).all()
        return [(row[0], row[1], row[2], row[3], row[4], float(row[5])) for row in rows]

    # ------------------------------------------------------------------ parts of the exchange

    def _write(self, connection: sa.Connection, landed: Sequence[Landed], owner: str, now: float) -> None:
        ordered = sorted(landed, key=lambda one: one.key)
        answered = [_answer(one.key, one.outcome, one.usd) for one in ordered if isinstance(one.outcome, Reply)]
        failed = [{"of": one.key, "why": one.outcome.reason} for one in ordered if isinstance(one.outcome, Failure)]
        same = REQUESTS.c.key == sa.bindparam("of")
        if answered:
            done = {"state": "answered", "answered": now, "failure": None, "lease_until": None}
            still_open = sa.update(REQUESTS).where(same, REQUESTS.c.state != "answered")
            connection.execute(still_open.values(**done, **_bound(answered[0])), answered)
        if failed:
            ours = sa.update(REQUESTS).where(same, REQUESTS.c.owner == owner, UNDER_WAY)
            done = {"state": "failed", "answered": now, "failure": sa.bindparam("why"), "lease_until": None}
            connection.execute(ours.values(**done), failed)

    def _claim(
        self, connection: sa.Connection, claims: Sequence[Entry], owner: str, now: float, lease_until: float
    ) -> dict[str, Claim]:
        if not claims:
            return {}
        ordered = sorted(claims, key=lambda entry: entry.key)
        self._insert_prefixes(connection, ordered)
        rows = [_row(entry, owner, now, lease_until) for entry in ordered]
        new = insert_new(REQUESTS, self._engine.dialect.name).returning(REQUESTS.c.key)
        ours = set(connection.execute(new, rows).scalars())
        came: dict[str, Claim] = {key: "ours" for key in ours}
        there = [entry.key for entry in ordered if entry.key not in ours]
        return came | self._take_over(connection, there, owner, now, lease_until)

    def _insert_prefixes(self, connection: sa.Connection, entries: Sequence[Entry]) -> None:
        new = {entry.prefix: entry.prefix_messages for entry in entries if entry.prefix_messages is not None}
        if new:
            rows = [{"digest": digest, "messages": messages} for digest, messages in sorted(new.items())]
            connection.execute(insert_new(PREFIXES, self._engine.dialect.name), rows)

    def _take_over(
        self, connection: sa.Connection, keys: Sequence[str], owner: str, now: float, lease_until: float
    ) -> dict[str, Claim]:
        """Claim rows that are there already: those that failed, and those whose worker is gone."""
        came: dict[str, Claim] = {}
        names = ("key", "state", "owner", "lease_until", "sends")
        for start in range(0, len(keys), KEYS_A_QUERY):
            wanted = REQUESTS.c.key.in_(keys[start : start + KEYS_A_QUERY])
            query = sa.select(*(REQUESTS.c[name] for name in names)).where(wanted).order_by(REQUESTS.c.key)
            for key, state, holder, until, sends in connection.execute(query).all():
                came[key] = "answered" if state == "answered" else "held"
                if state == "failed" or (state == "in_flight" and abandoned(holder, until, now)):
                    unchanged = (
                        REQUESTS.c.key == key, REQUESTS.c.state == state, REQUESTS.c.owner == holder,
                        REQUESTS.c.sends == sends,
                    )
                    taken = connection.execute(sa.update(REQUESTS).where(*unchanged).values(
                        state="in_flight", owner=owner, lease_until=lease_until, sends=sends + 1, failure=None
                    ))
                    came[key] = "ours" if taken.rowcount == 1 else "held"
        return came

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> EnvironmentProblem:
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        return EnvironmentProblem(
            f"the ledger at {self._shown} cannot be used: {cause}; see to it, or name another by LLAVAFLOW_LEDGER_URL"
        )


def _row(entry: Entry, owner: str, now: float, lease_until: float) -> dict[str, Any]:
    return {
        "key": entry.key, "purpose": entry.purpose, "model": entry.model, "request": entry.request, "created": now,
        "state": "in_flight", "owner": owner, "lease_until": lease_until, "sends": 1,
    }


def _answer(key: str, reply: Reply, usd: float) -> dict[str, Any]:
    return {
        "of": key, "to_reply": reply.text, "to_finish_reason": reply.finish_reason, "to_usd": usd,
        "to_input_tokens": reply.input_tokens, "to_output_tokens": reply.output_tokens, "to_served": reply.served,
    }


def _bound(row: dict[str, Any]) -> dict[str, Any]:
    """Columns set from the parameters of `_answer`."""
    return {name.removeprefix("to_"): sa.bindparam(name) for name in row if name.startswith("to_")}
