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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa
from pydantic import BaseModel, TypeAdapter

from tasks.chat.records import Message
from tasks.ledger.keys import Entry
from tasks.ledger.owner import abandoned
from tasks.ledger.rows import KEYS_A_QUERY, Claim, Landed, Rows
from tasks.ledger.tables import METADATA, PREFIXES, REQUESTS, UNDER_WAY

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
MESSAGES = TypeAdapter(tuple[Message, ...])


class _Written(BaseModel):
    """The part of a request's row that its messages are in."""

    prefix: str
    rest: tuple[Message, ...]


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
    standing: str | None

    def left_by(self, who: str, now: float) -> bool:
        """True if it was being sent by somebody who is gone, or by `who`."""
        return self.state != "sent" and (self.who == who or abandoned(self.who, self.lease_until, now))


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

    def claim_all(self, entries: Iterable[Entry], name: str, now: float) -> dict[str, Claim]:
        """Claim requests for a batch, where nobody else has them, for as long as its answers are kept."""
        source, claims = iter(entries), dict[str, Claim]()
        while some := list(islice(source, KEYS_A_QUERY)):
            claims |= self.exchange((), some, owner_of(name), now, now + KEPT_SECONDS)
        return claims

    def settle(self, landed: Sequence[Landed], name: str, now: float) -> None:
        """Write down what came of some of a batch's requests, all of it or nothing. What is answered stays so."""
        self.exchange(landed, (), owner_of(name), now, now)

    def messages_of(self, keys: Sequence[str]) -> dict[str, tuple[Message, ...]]:
        """The messages of requests, as they were written down."""
        found: dict[str, tuple[Message, ...]] = {}
        beginnings: dict[str, tuple[Message, ...]] = {}
        with self._transaction() as connection:
            for start in range(0, len(keys), KEYS_A_QUERY):
                wanted = REQUESTS.c.key.in_(keys[start : start + KEYS_A_QUERY])
                for key, text in connection.execute(sa.select(REQUESTS.c.key, REQUESTS.c.request).where(wanted)):
                    request = _Written.model_validate_json(text)
                    if request.prefix not in beginnings:
                        query = sa.select(PREFIXES.c.messages).where(PREFIXES.c.digest == request.prefix)
                        beginnings[request.prefix] = MESSAGES.validate_json(connection.execute(query).scalar_one())
                    found[key] = (*beginnings[request.prefix], *request.rest)
        return found

    def end(self, name: str, state: str, standing: str, reason: str, now: float, sent: bool = True) -> None:
        """A batch is over: its requests that have no outcome failed, for this reason, and may be sent again.

        One that was not `sent` takes back the count of a sending.
        """
        left = sa.and_(REQUESTS.c.owner == owner_of(name), UNDER_WAY)
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
