"""The ledger's table of batches: one row a batch that was sent, or was about to be.

A batch's requests are the rows of the table `requests` that it owns (`owner_of`). Its own row is written before
anything leaves, and says how far it came:

    preparing   requests are claimed and uploaded: nothing that is paid for has been started
    creating    the endpoint is being asked to start it: if the id is not here, it may still have been started
    sent        it has an id at the endpoint: any worker, on any machine with this ledger, may fetch it
    fetched     all that came of it is in the ledger
    failed      the endpoint refused it as a whole
    dropped     it never got as far as being started

So a batch is found again whenever and wherever a run goes on, and no request of it is sent a second time meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tasks.ledger_rows import KEYS_A_QUERY, METADATA, REQUESTS, Claim, Entry, Kept, Rows, _abandoned, _answer, _row

BATCHES = sa.Table(
    "batches",
    METADATA,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("client", sa.String(64), nullable=False, index=True),
    sa.Column("purpose", sa.String(64), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("who", sa.String(255), nullable=False),
    sa.Column("lease_until", sa.Float, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("discount", sa.Float, nullable=False),
    sa.Column("requests", sa.Integer),
    sa.Column("keys_digest", sa.String(64)),
    sa.Column("input_file_id", sa.String(255)),
    sa.Column("asked", sa.Float),
    sa.Column("provider_id", sa.String(255)),
    sa.Column("standing", sa.Text),
    sa.Column("ended", sa.Float),
)
KEPT_SECONDS = 30 * 24 * 3600.0
"""How long an endpoint keeps what came of a batch; its requests are not sent again before."""
OPEN = ("preparing", "creating", "sent")
RACES = 5


@dataclass(frozen=True)
class BatchRow:
    """A batch as it is written down."""

    name: str
    state: str
    who: str
    lease_until: float
    created: float
    discount: float
    keys_digest: str | None
    input_file_id: str | None
    asked: float | None
    provider_id: str | None

    def left_by(self, who: str, now: float) -> bool:
        """True if it was being sent by somebody who is gone, or by `who`."""
        return self.state != "sent" and (self.who == who or _abandoned(self.who, self.lease_until, now))


class BatchRows(Rows):
    """The ledger's rows, seen as batches."""

    def begin(
        self, name: str, client: str, purpose: str, model: str, who: str, now: float, seconds: float, discount: float
    ) -> None:
        """Write down that a batch is about to be made."""
        row = {
            "name": name, "client": client, "purpose": purpose, "model": model, "state": "preparing", "who": who,
            "created": now, "lease_until": now + seconds, "discount": discount,
        }
        with self._transaction() as connection:
            connection.execute(sa.insert(BATCHES).values(row))

    def change(self, name: str, **columns: str | float | None) -> None:
        """Write down how far a batch has come."""
        with self._transaction() as connection:
            connection.execute(sa.update(BATCHES).where(BATCHES.c.name == name).values(columns))

    def take_over(self, row: BatchRow, who: str, now: float, seconds: float) -> bool:
        """Take the place of the one who was sending a batch and is gone. False if another was faster."""
        unchanged = [BATCHES.c[name] == getattr(row, name) for name in ("name", "state", "who", "lease_until")]
        with self._transaction() as connection:
            taken = connection.execute(
                sa.update(BATCHES).where(*unchanged).values(who=who, lease_until=now + seconds)
            )
        return bool(taken.rowcount == 1)

    def open(self, client: str) -> list[BatchRow]:
        """The batches of a client that are not over, oldest first."""
        names = list(BatchRow.__dataclass_fields__)
        query = sa.select(*(BATCHES.c[name] for name in names)).where(
            BATCHES.c.client == client, BATCHES.c.state.in_(OPEN)
        )
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(BATCHES.c.created, BATCHES.c.name)).mappings().all()
        return [BatchRow(**row) for row in rows]

    def keys_of(self, name: str) -> set[str]:
        """Keys of a batch's requests."""
        query = sa.select(REQUESTS.c.key).where(REQUESTS.c.owner == owner_of(name))
        with self._transaction() as connection:
            return set(connection.execute(query).scalars())

    def claim_all(self, entries: Sequence[Entry], name: str, now: float) -> dict[str, Claim]:
        """Claim requests for a batch, where nobody else has them, for as long as its answers are kept."""
        self._keep_prefixes(entries)
        claims: dict[str, Claim] = {}
        for start in range(0, len(entries), KEYS_A_QUERY):
            claims |= self._claim_some(entries[start : start + KEYS_A_QUERY], name, now)
        return claims

    def _claim_some(self, entries: Sequence[Entry], name: str, now: float) -> dict[str, Claim]:
        for _ in range(RACES):
            try:
                return self._try_to_claim(entries, name, now)
            except IntegrityError:  # another worker wrote one of them down meanwhile: now it is seen
                continue
        return {entry.key: "held" for entry in entries}

    def _try_to_claim(self, entries: Sequence[Entry], name: str, now: float) -> dict[str, Claim]:
        lease = {"state": "in_flight", "owner": owner_of(name), "lease_until": now + KEPT_SECONDS}
        columns = ("key", "state", "owner", "lease_until", "sends")
        query = sa.select(*(REQUESTS.c[column] for column in columns))
        claims: dict[str, Claim] = {}
        with self._transaction() as connection:
            wanted = REQUESTS.c.key.in_([entry.key for entry in entries])
            there = {row["key"]: row for row in connection.execute(query.where(wanted)).mappings()}
            if new := [entry for entry in entries if entry.key not in there]:
                rows = [{**_row(entry, now), **lease, "sends": 1} for entry in new]
                connection.execute(sa.insert(REQUESTS), rows)
            for key, row in there.items():
                if row["state"] == "answered":
                    claims[key] = "answered"
                elif row["state"] == "in_flight" and not _abandoned(row["owner"], row["lease_until"], now):
                    claims[key] = "held"
                else:
                    unchanged = [REQUESTS.c[column] == row[column] for column in ("key", "state", "owner", "sends")]
                    taken = connection.execute(
                        sa.update(REQUESTS).where(*unchanged).values(**lease, sends=row["sends"] + 1, failure=None)
                    )
                    claims[key] = "ours" if taken.rowcount == 1 else "held"
        return claims | {entry.key: "ours" for entry in new}

    def settle(self, answers: Mapping[str, Kept], failures: Mapping[str, str], name: str, now: float) -> None:
        """Write down what came of some of a batch's requests, all of it or nothing. What is answered stays so."""
        with self._transaction() as connection:
            if answers:
                unanswered = sa.and_(REQUESTS.c.key == sa.bindparam("its_key"), REQUESTS.c.state != "answered")
                rows = [{"its_key": key, **_answer(kept, now)} for key, kept in answers.items()]
                connection.execute(sa.update(REQUESTS).where(unanswered), rows)
            if failures:
                ours = sa.and_(
                    REQUESTS.c.key == sa.bindparam("its_key"), REQUESTS.c.owner == owner_of(name),
                    REQUESTS.c.state == "in_flight",
                )
                rows = [{"its_key": key, **_failed(reason, now)} for key, reason in failures.items()]
                connection.execute(sa.update(REQUESTS).where(ours), rows)

    def end(self, name: str, state: str, standing: str, reason: str, now: float, sent: bool = True) -> None:
        """A batch is over: its requests that have no outcome failed, for this reason, and may be sent again.

        One that was not `sent` takes back the count of a sending.
        """
        left = sa.and_(REQUESTS.c.owner == owner_of(name), REQUESTS.c.state == "in_flight")
        sends = REQUESTS.c.sends if sent else REQUESTS.c.sends - 1
        over = {"state": state, "standing": standing, "ended": now}
        with self._transaction() as connection:
            connection.execute(sa.update(REQUESTS).where(left).values(**_failed(reason, now), sends=sends))
            connection.execute(sa.update(BATCHES).where(BATCHES.c.name == name).values(over))

    def forget(self, name: str) -> None:
        """Take out a batch for which nothing was left to claim."""
        with self._transaction() as connection:
            connection.execute(sa.delete(BATCHES).where(BATCHES.c.name == name))


def owner_of(name: str) -> str:
    """Who owns a batch's requests. It is the batch, not a process: it goes on when the process is gone.

    It reads as an owner on a host of another name, of whom only the lease tells whether it lives.
    """
    return f"@batch:0:{name}:0"


def _failed(reason: str, now: float) -> dict[str, str | float | None]:
    return {"state": "failed", "failure": reason, "answered": now, "lease_until": None}
