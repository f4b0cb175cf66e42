"""Fetch what came of a batch. Everything is in the ledger before it is handed on, and fetching again does no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tasks.batches.desk import Desk, Wanted
from tasks.chat.batch import Standing
from tasks.chat.batch_lines import Line, read_line
from tasks.chat.errors import Retry
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import EndpointRejected
from tasks.ledger.batches import BatchRow
from tasks.ledger.rows import Landed

LINES_A_COMMIT = 500


@dataclass(frozen=True)
class Outcome:
    """What came of one request, and what it cost. `Retry`: nothing, and it may be sent again."""

    key: str
    what: Reply | Failure | Retry
    usd: float = 0.0


@dataclass
class _Seen:
    """What the lines of a batch's files have said so far."""

    keys: set[str]
    """Keys that the batch asked for."""
    open: set[str] = field(init=False)
    """Those of them without a line."""
    counts: Counter[str] = field(default_factory=Counter)
    rejected: EndpointRejected | None = None

    def __post_init__(self) -> None:
        self.open = set(self.keys)


def fetch(desk: Desk, row: BatchRow, standing: Standing, wanted: Mapping[str, Wanted]) -> Iterator[Outcome]:
    """The outcome of every request of a batch that has ended, those of other calls included.

    A request without a line gets `Retry`, as does one whose line cannot be read. Raises EndpointRejected, after all
    else is kept, if a line says that no request can get past.
    """
    seen = _Seen(desk.rows.keys_of(row.name))
    lines = (line for file in standing.files for line in desk.provider.lines(file))
    while some := list(islice(lines, LINES_A_COMMIT)):
        read = [line for text in some if (line := _read(text, seen))]
        # Requests of an earlier or another call, whose messages are in the ledger alone.
        others = desk.rows.messages_of([line.key for line in read if line.key not in wanted])
        outcomes = [
            _outcome(desk, row, line, wanted[line.key].messages if line.key in wanted else others[line.key], seen)
            for line in read
        ]
        landed = [Landed(found.key, _as_kept(found.what), found.usd) for found in outcomes]
        desk.rows.settle(landed, row.name, desk.clock())
        yield from outcomes
    reason = f"the batch {standing.id} ended ({standing.status}) without an answer to it"
    desk.rows.end(row.name, "fetched", standing.line, reason, desk.clock())
    desk.progress.note(_told(standing, seen))
    for key in sorted(seen.open):
        yield Outcome(key, Retry(reason))
    if seen.rejected is not None:
        raise seen.rejected


def _read(text: str, seen: _Seen) -> Line | None:
    """A line about a request of the batch, or None for one that is of no use, which is counted."""
    line = read_line(text)
    if line is None:
        seen.counts["lines that cannot be read"] += 1
        return None
    if line.key not in seen.open:
        seen.counts["second lines for a request" if line.key in seen.keys else "lines for unknown requests"] += 1
        return None
    seen.open.discard(line.key)
    return line


def _outcome(desk: Desk, row: BatchRow, line: Line, messages: Sequence[Message], seen: _Seen) -> Outcome:
    """What came of the request that a line is about."""
    what: Reply | Failure | Retry
    try:
        what = desk.provider.outcome(line, messages)
    except EndpointRejected as error:
        seen.rejected = seen.rejected or error
        what = Failure(str(error))
    names = {Reply: "answered", Failure: "refused", Retry: "to be sent again"}
    seen.counts[names[type(what)]] += 1
    usd = desk.client.price(what) * row.discount if isinstance(what, Reply) else 0.0
    return Outcome(line.key, what, usd)


def _as_kept(what: Reply | Failure | Retry) -> Reply | Failure:
    """To the ledger, a request that may be sent again is one that failed."""
    return Failure(what.reason) if isinstance(what, Retry) else what


def _told(standing: Standing, seen: _Seen) -> str:
    counts = [f"{number} {name}" for name, number in sorted(seen.counts.items())]
    if seen.open:
        counts.append(f"{len(seen.open)} without a line")
    return f"batch {standing.id} {standing.status}: {', '.join(counts) or 'nothing in it'}"
