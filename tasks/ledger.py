"""What was asked, answered and paid, exactly once.

Every request has a key: a digest of all that shapes its answer. An answered key is never sent again, in this run or
any later one. An answer is committed before it is handed out, so a run that is killed goes on where it was. A request
that was under way at that moment is left `in_flight`: its lease tells other workers to wait, and its owner's death,
or the end of the lease, lets the next to ask send it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from tasks.artifacts import canonical_json, digest_of
from tasks.chat_records import ChatClient, Failure, Message, Reply, Usage
from tasks.errors import BudgetExhausted
from tasks.ledger_rows import Entry, Kept, OpenRequest, Rows, new_owner

FREE_BATCH = 500
"""Answers that cost nothing are committed in batches of this size."""
LEASE_MARGIN = 60.0
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """Messages to be answered. Equal messages with another `attempt` are another request (a second opinion)."""

    messages: tuple[Message, ...]
    attempt: int = 0


@dataclass(frozen=True)
class Answer:
    """A reply, or why there is none. `usd` is what the reply cost when it was paid for."""

    reply: Reply | None
    failure: str | None = None
    usd: float = 0.0
    from_ledger: bool = False


@dataclass
class Budget:
    """A money limit over the answers of one experiment, whether paid for in this run or an earlier one."""

    limit_usd: float
    knob: str
    """The setting to raise, for the message."""
    spent_usd: float = 0.0


class Asker(Protocol):
    """Who stages ask. `LedgerAsker` is the one of every run."""

    @property
    def model(self) -> str:
        """Name of the model that answers."""

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """(position, answer) of every request, in the order of arrival. Raises EndpointError, BudgetExhausted."""

    @property
    def tally(self) -> Tally:
        """What was asked and paid so far."""


@dataclass(frozen=True)
class Tally:
    """Sums over answers: `asked` were sent to the endpoint, `from_ledger` were not."""

    asked: int = 0
    from_ledger: int = 0
    failed: int = 0
    used: Usage = field(default_factory=Usage)
    """Replies, tokens and USD of what was asked now."""
    saved: Usage = field(default_factory=Usage)
    """The same of what the ledger knew."""

    def plus(self, answer: Answer) -> Tally:
        """The sums with one more answer."""
        reply = answer.reply
        cost = Usage() if reply is None else Usage(1, reply.input_tokens, reply.output_tokens, answer.usd)
        known = answer.from_ledger
        return Tally(
            asked=self.asked + (not known),
            from_ledger=self.from_ledger + known,
            failed=self.failed + (reply is None),
            used=self.used if known else self.used + cost,
            saved=self.saved + cost if known else self.saved,
        )


class LedgerAsker:
    """A client behind the ledger, with a purpose and a budget, counting."""

    def __init__(self, ledger: Ledger, client: ChatClient, purpose: str, budget: Budget | None = None) -> None:
        self.tally = Tally()
        self._ledger, self._client, self._purpose, self._budget = ledger, client, purpose, budget

    @property
    def model(self) -> str:
        """Name of the model that answers."""
        return self._client.model

    def ask(self, requests: Sequence[Request]) -> Iterator[tuple[int, Answer]]:
        """As `Ledger.ask`."""
        for position, answer in self._ledger.ask(self._client, requests, self._purpose, self._budget):
            self.tally = self.tally.plus(answer)
            yield position, answer

    def __call__(self, requests: Sequence[Sequence[Message]], attempt: int = 0) -> list[Reply | Failure]:
        """One outcome a request, in the order of the requests."""
        asked = [Request(tuple(messages), attempt) for messages in requests]
        answers = dict(self.ask(asked))
        outcomes = [answers[position] for position in range(len(asked))]
        return [answer.reply or Failure(answer.failure or "no reply") for answer in outcomes]


@dataclass
class _Wanted:
    """One key of a call, and the positions that want its answer."""

    entry: Entry
    messages: tuple[Message, ...]
    positions: list[int]


@dataclass
class _Round:
    """One pass over what is still wanted: what was sent and is without outcome, and why the pass ended."""

    sent: dict[int, _Wanted] = field(default_factory=dict)
    number_sent: int = 0
    reserved_usd: float = 0.0
    over_budget: bool = False


class Ledger:
    """The ledger at a SQLAlchemy URL. Close it after use (`contextlib.closing`).

    `clock` gives seconds since the epoch; `sleep` waits for other workers' answers.
    """

    def __init__(
        self,
        url: str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rows = Rows(url)
        self._clock = clock
        self._sleep = sleep

    def close(self) -> None:
        """Close the connections."""
        self._rows.close()

    def open_requests(self) -> list[OpenRequest]:
        """What was sent and has no outcome."""
        return self._rows.open_requests(self._clock())

    def totals(self) -> list[tuple[str, str, str, int, int, float]]:
        """(purpose, model, state, requests, times sent, USD), sorted."""
        return self._rows.totals()

    def ask(
        self, client: ChatClient, requests: Sequence[Request], purpose: str, budget: Budget | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """Answers from the ledger first, then from the client, each committed before it is yielded.

        A request that failed for good yields an answer without reply and is sent again when asked for again. Raises
        EndpointError and BudgetExhausted when nothing more can be sent; what was under way then is still yielded.
        """
        wanted = _by_key(client, requests, purpose)
        yield from self._known(wanted, budget)
        if client.costly:
            yield from self._paid(client, wanted, budget)
        else:
            yield from self._free(client, wanted)

    def _known(self, wanted: dict[str, _Wanted], budget: Budget | None) -> Iterator[tuple[int, Answer]]:
        """Take out of `wanted` what the ledger has the answer to."""
        for key, kept in self._rows.answers(list(wanted)).items():
            if budget is not None:
                budget.spent_usd += kept.usd
            known = Answer(kept.reply, usd=kept.usd, from_ledger=True)
            yield from ((position, known) for position in wanted.pop(key).positions)

    def _free(self, client: ChatClient, wanted: dict[str, _Wanted]) -> Iterator[tuple[int, Answer]]:
        owner = new_owner()
        source = iter(wanted.values())
        while batch := list(islice(source, FREE_BATCH)):
            outcomes = dict(client.answer_all([item.messages for item in batch]))
            kept = {place: Kept(outcome, 0.0) for place, outcome in outcomes.items() if isinstance(outcome, Reply)}
            self._rows.keep_many([batch[place].entry for place in kept], list(kept.values()), owner, self._clock())
            for place, item in enumerate(batch):
                yield from _to_all(item, _answered(outcomes[place], 0.0))

    def _paid(
        self, client: ChatClient, wanted: dict[str, _Wanted], budget: Budget | None
    ) -> Iterator[tuple[int, Answer]]:
        """Rounds until all is answered. One is enough unless other workers hold keys or the budget runs low."""
        owner, total = new_owner(), len(wanted)
        while wanted:
            current = _Round()
            yield from self._round(client, wanted, budget, owner, current)
            before = len(wanted)
            if wanted:
                yield from self._known(wanted, budget)
            if current.number_sent or len(wanted) < before:
                continue
            if current.over_budget and budget is not None:
                raise _exhausted(budget, total - len(wanted), total)
            self._sleep(POLL_SECONDS)

    def _round(
        self, client: ChatClient, wanted: dict[str, _Wanted], budget: Budget | None, owner: str, current: _Round
    ) -> Iterator[tuple[int, Answer]]:
        try:
            for place, outcome in client.answer_all(self._draw(client, wanted, budget, owner, current)):
                item = current.sent[place]
                usd = client.price(outcome) if isinstance(outcome, Reply) else 0.0
                if isinstance(outcome, Reply):
                    self._rows.keep(item.entry.key, Kept(outcome, usd), self._clock())
                else:
                    self._rows.keep_failure(item.entry.key, owner, outcome.reason, self._clock())
                del current.sent[place], wanted[item.entry.key]
                if budget is not None:
                    budget.spent_usd += usd
                    current.reserved_usd -= client.highest_price(item.messages)
                yield from _to_all(item, _answered(outcome, usd))
        finally:
            self._rows.release([item.entry.key for item in current.sent.values()], owner, self._clock())

    def _draw(
        self, client: ChatClient, wanted: dict[str, _Wanted], budget: Budget | None, owner: str, current: _Round
    ) -> Iterator[Sequence[Message]]:
        """Claim requests one by one, as the client has room for them.

        The most that those under way can cost is reserved, so the limit is never passed; when too little is left,
        the round ends, and the next one begins with what they really cost.
        """
        for item in list(wanted.values()):
            price = client.highest_price(item.messages)
            if budget is not None and budget.spent_usd + current.reserved_usd + price > budget.limit_usd:
                current.over_budget = True
                return
            if self._rows.claim(item.entry, owner, self._clock(), client.patience + LEASE_MARGIN) != "ours":
                continue
            current.sent[current.number_sent] = item
            current.number_sent += 1
            current.reserved_usd += price
            yield item.messages


def key_of(client: ChatClient, request: Request) -> str:
    """Digest of all that shapes the answer: who answers and how it samples, the messages, the attempt."""
    messages = [
        [message.role, message.content, *([message.image.sha256] if message.image else [])]
        for message in request.messages
    ]
    return digest_of({"client": dict(client.identity), "messages": messages, "attempt": request.attempt})


def _by_key(client: ChatClient, requests: Sequence[Request], purpose: str) -> dict[str, _Wanted]:
    wanted: dict[str, _Wanted] = {}
    for position, request in enumerate(requests):
        key = key_of(client, request)
        if key in wanted:
            wanted[key].positions.append(position)
        else:
            wanted[key] = _Wanted(_entry(client, request, key, purpose), request.messages, [position])
    return wanted


def _entry(client: ChatClient, request: Request, key: str, purpose: str) -> Entry:
    *before, last = request.messages
    prefix = canonical_json([message.kept() for message in before])
    digest = digest_of(prefix)
    written = {"client": dict(client.identity), "prefix": digest, "last": last.kept(), "attempt": request.attempt}
    return Entry(key, purpose, client.model, digest, prefix, canonical_json(written))


def _answered(outcome: Reply | Failure, usd: float) -> Answer:
    return Answer(outcome, usd=usd) if isinstance(outcome, Reply) else Answer(None, outcome.reason)


def _to_all(item: _Wanted, answer: Answer) -> Iterator[tuple[int, Answer]]:
    """Equal requests of one call are sent once: the others have their answer from the ledger."""
    first, *others = item.positions
    yield first, answer
    again = Answer(answer.reply, answer.failure, answer.usd, from_ledger=True)
    yield from ((position, again) for position in others)


def _exhausted(budget: Budget, kept: int, total: int) -> BudgetExhausted:
    return BudgetExhausted(
        f"the budget of {budget.limit_usd:g} USD is used up ({budget.spent_usd:.4f} spent); {kept} of {total} missing "
        f"answers came and are kept, so raise {budget.knob} and run again to ask only for the rest"
    )
