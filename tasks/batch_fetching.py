"""Fetch what came of a batch. Everything is in the ledger before it is handed on, and fetching again does no harm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from tasks.batch_desk import Desk, Wanted
from tasks.chat_batch import Standing
from tasks.chat_batch_lines import read_line
from tasks.chat_errors import Retry
from tasks.chat_records import Failure, Reply
from tasks.errors import EndpointRejected
from tasks.ledger_batches import BatchRow
from tasks.ledger_rows import Kept

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
    while batch := list(islice(lines, LINES_A_COMMIT)):
        outcomes = [found for text in batch if (found := _read(desk, row, text, wanted, seen))]
        _keep(desk, row, outcomes)
        yield from outcomes
    reason = f"the batch {standing.id} ended ({standing.status}) without an answer to it"
    desk.rows.end(row.name, "fetched", standing.line, reason, desk.clock())
    desk.progress.note(_told(standing, seen))
    for key in sorted(seen.open):
        yield Outcome(key, Retry(reason))
    if seen.rejected is not None:
        raise seen.rejected


def _read(desk: Desk, row: BatchRow, text: str, wanted: Mapping[str, Wanted], seen: _Seen) -> Outcome | None:
    """The outcome that a line tells, or None for one that is of no use, which is counted."""
    line = read_line(text)
    if line is None:
        seen.counts["lines that cannot be read"] += 1
        return None
    if line.key not in seen.open:
        seen.counts["second lines for a request" if line.key in seen.keys else "lines for unknown requests"] += 1
        return None
    seen.open.discard(line.key)
    item = wanted.get(line.key)
    try:
        what = desk.provider.outcome(line, item.messages if item else ())
    except EndpointRejected as error:
        seen.rejected = seen.rejected or error
        what = Failure(str(error))
    names = {Reply: "answered", Failure: "refused", Retry: "to be sent again"}
    seen.counts[names[type(what)]] += 1
    usd = desk.client.price(what) * row.discount if isinstance(what, Reply) else 0.0
    return Outcome(line.key, what, usd)


def _keep(desk: Desk, row: BatchRow, outcomes: list[Outcome]) -> None:
    answers = {found.key: Kept(found.what, found.usd) for found in outcomes if isinstance(found.what, Reply)}
    failures = {found.key: found.what.reason for found in outcomes if not isinstance(found.what, Reply)}
    desk.rows.settle(answers, failures, row.name, desk.clock())


def _told(standing: Standing, seen: _Seen) -> str:
    counts = [f"{number} {name}" for name, number in sorted(seen.counts.items())]
    if seen.open:
        counts.append(f"{len(seen.open)} without a line")
    return f"batch {standing.id} {standing.status}: {', '.join(counts) or 'nothing in it'}"
