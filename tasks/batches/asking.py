"""Ask through the Batch API, behind the same ledger: what `LedgerAsker` is for requests sent one by one.

A call's requests go out as a few batches, and each batch belongs to the ledger, not to the process that sent it: a run
that is stopped, or started elsewhere on the same ledger, comes back to the batches that are under way.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack

from configs.schema import BatchConfig, OpenAIEndpoint
from tasks.batches.desk import Desk, Wanted, identity_of
from tasks.batches.fetching import fetch
from tasks.batches.sending import choose, recover, send
from tasks.chat.batch import BatchClient, Standing
from tasks.chat.errors import Retry
from tasks.chat.records import ChatClient, Failure, Reply
from tasks.errors import BatchesUnderWay, BudgetExhausted, EndpointError
from tasks.ledger.batches import BatchRow, BatchRows
from tasks.ledger.ledger import Answer, Budget, Ledger, LedgerAsker, Request
from tasks.progress import Progress

SLICE_SECONDS = 0.5
"""How often a run that waits shows itself, and notices that it is to stop."""
GO_ON = "run the same command again to come back to them"


def asker_of(
    stack: ExitStack, endpoint: OpenAIEndpoint, api_key: str | None, ledger: Ledger, url: str, client: ChatClient,
    purpose: str, budget: Budget | None, progress: Progress,
) -> LedgerAsker:
    """Who asks at an endpoint: through batches if it is configured so, or if some are under way. `stack` closes it.

    `url` is the ledger's.
    """
    rows = BatchRows(url)
    stack.callback(rows.close)
    if endpoint.batch is None and not rows.open(identity_of(client)):
        return LedgerAsker(ledger, client, purpose, budget)
    provider = BatchClient(endpoint, api_key)
    stack.callback(provider.close)
    desk = Desk(client, provider, rows, purpose, endpoint.batch or BatchConfig(), progress)
    return BatchAsker(desk, ledger, budget, sending=endpoint.batch is not None)


class BatchAsker(LedgerAsker):
    """Sends batches, waits for them, fetches what came of them.

    With `sending` False it only waits for batches that were sent before and hold requests of the call, and leaves
    the others to be asked one by one: for an experiment that has given up its batches.
    """

    def __init__(self, desk: Desk, ledger: Ledger, budget: Budget | None = None, sending: bool = True) -> None:
        super().__init__(ledger, desk.client, desk.purpose, budget)
        self._desk, self._sending = desk, sending
        self._keys: dict[str, set[str]] = {}
        """Keys of batches that were sent, by name."""
        self._standings: dict[str, Standing] = {}
        """Where the batches under way stood when last looked at, by name."""
        self._lines: list[str] = []
        """What is under way, in words."""
        self._waited = 0.0
        self._full = False
        """The endpoint takes no more batches until one has ended."""

    @property
    def wave(self) -> int:
        """As many as may be under way: every round of batches can take a day."""
        return self._desk.config.max_requests * self._desk.config.max_open

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """As `LedgerAsker.ask`, but all are drawn at once: a batch holds thousands, and comes back whole.

        Raises BatchesUnderWay, too, where the configuration bounds the wait.
        """
        requests = list(requests)
        try:
            for position, answer in self._answers(self._by_key(requests)):
                if self._sending:
                    self.tally = self.tally.plus(answer)
                    yield position, answer
        except BaseException as error:
            self._say_where_it_stands(error)
            raise
        if not self._sending:
            yield from super().ask(requests)

    # ------------------------------------------------------------------ the rounds

    def _answers(self, wanted: dict[str, Wanted]) -> Iterator[tuple[int, Answer]]:
        total = len(wanted)
        yield from self._known(wanted, list(wanted))
        while wanted:
            under_way = self._under_way(wanted)
            if self._sending:
                under_way = yield from self._send(wanted, under_way, total)
                yield from self._known(wanted, [key for key, item in wanted.items() if item.held])
            elif not under_way:
                return
            self._lines = [row.standing or "one that is being sent" for row in under_way]
            if ended := self._look(under_way):
                refused = [row for row in ended if self._standings[row.name].full]
                for row in ended:
                    yield from self._fetch(row, wanted, len(under_way) > len(refused))
            elif wanted:
                self._wait()
                yield from self._known(wanted, [key for key, item in wanted.items() if item.held])

    def _known(self, wanted: dict[str, Wanted], keys: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        """Take out of `wanted` what the ledger has the answer to."""
        for key, kept in self._desk.rows.answers(keys).items():
            self._spend(kept.usd)
            answer = Answer(kept.reply, usd=kept.usd, from_ledger=True, key=key)
            yield from ((position, answer) for position in wanted.pop(key).positions)
        for key in keys:
            if key in wanted:
                wanted[key].held = False

    def _under_way(self, wanted: dict[str, Wanted]) -> list[BatchRow]:
        """Batches with requests of the call, after those that were left half sent have been seen to."""
        desk = self._desk
        for row in desk.rows.open(desk.identity):
            if row.left_by(desk.who, desk.clock()):
                recover(desk, row)
        return [row for row in desk.rows.open(desk.identity) if not wanted.keys().isdisjoint(self._keys_of(row))]

    def _keys_of(self, row: BatchRow) -> set[str]:
        if row.name in self._keys:
            return self._keys[row.name]
        keys = self._desk.rows.keys_of(row.name)
        if row.state != "preparing":  # no more are claimed
            self._keys[row.name] = keys
        return keys

    def _send(
        self, wanted: dict[str, Wanted], under_way: list[BatchRow], total: int
    ) -> Generator[tuple[int, Answer], None, list[BatchRow]]:
        """Send what is to be had, within the bounds and the budget; returns all that is under way then."""
        desk = self._desk
        while len(under_way) < desk.config.max_open and not (self._full and under_way):
            taken = set[str]().union(*(self._keys_of(row) for row in under_way))
            free = [item for key, item in wanted.items() if key not in taken and not item.held]
            choice = choose(desk, free, self._allowance(wanted, taken))
            for item in choice.too_large:
                reason = f"the request is larger than batch.max_bytes={desk.config.max_bytes}"
                yield from self._settle(wanted, item, Failure(reason), 0.0)
            if choice.chosen:
                send(desk, choice.chosen)
                under_way = self._under_way(wanted)
                continue
            if choice.over_budget and not under_way and not any(item.held for item in wanted.values()):
                raise self._exhausted(total - len(wanted), total)
            break
        return under_way

    def _look(self, under_way: Sequence[BatchRow]) -> list[BatchRow]:
        """Ask how the batches stand; returns those that have ended."""
        desk, before = self._desk, self._standings
        self._standings = {
            row.name: desk.provider.look(row.provider_id) for row in under_way if row.provider_id is not None
        }
        self._lines = [standing.line for standing in self._standings.values()] or self._lines
        for name, standing in self._standings.items():
            if standing != before.get(name):
                desk.rows.change(name, standing=standing.line)
        return [row for row in under_way if row.name in self._standings and self._standings[row.name].ended]

    def _fetch(self, row: BatchRow, wanted: dict[str, Wanted], others: bool) -> Iterator[tuple[int, Answer]]:
        standing = self._standings.pop(row.name)
        if standing.status == "failed":
            self._failed(row, standing, others)
            return
        self._full = False
        for outcome in fetch(self._desk, row, standing, wanted):
            item = wanted.get(outcome.key)
            if item is None:
                continue
            what = outcome.what
            if isinstance(what, Retry):
                item.tries += 1
                if item.tries <= self._desk.provider.endpoint.max_retries:
                    continue
                what = Failure(f"no answer in {item.tries} batches: {what.reason}")
            yield from self._settle(wanted, item, what, outcome.usd)

    def _failed(self, row: BatchRow, standing: Standing, others: bool) -> None:
        """A batch was refused as a whole: nothing of it was answered or paid for."""
        told = "; ".join(standing.errors) or "no reason given"
        self._desk.rows.end(row.name, "failed", f"{standing.id} failed: {told}", told, self._desk.clock())
        if standing.full and others:
            self._full = True
            self._desk.progress.note(f"the endpoint takes no more batches for now ({told})")
            return
        raise EndpointError(
            f"the endpoint refused the batch {standing.id} as a whole: {told}; nothing was paid for it, and all other "
            "answers are kept: see to the cause (lower batch.max_requests or max_bytes if it is too large), run again"
        )

    # ------------------------------------------------------------------ waiting

    def _wait(self) -> None:
        """Until it is time to look again. Progress hears of it often: it is how a run that is stopped ends."""
        desk = self._desk
        left, bound = desk.config.poll_seconds, desk.config.leave_after_seconds
        while left > 0:
            done = sum(standing.completed for standing in self._standings.values())
            total = sum(standing.total for standing in self._standings.values())
            states = sorted({standing.status for standing in self._standings.values()})
            desk.progress.update(done, total, batches=len(self._standings), state=", ".join(states))
            if bound is not None and self._waited >= bound and self._standings:
                raise BatchesUnderWay(f"{self._where_it_stands()}; {GO_ON}")
            step = min(SLICE_SECONDS, left)
            desk.sleep(step)
            left, self._waited = left - step, self._waited + step

    def _where_it_stands(self) -> str:
        return f"{len(self._lines)} under way at {self._desk.provider.endpoint.base_url}: {'; '.join(self._lines)}"

    def _say_where_it_stands(self, error: BaseException) -> None:
        if self._lines and not isinstance(error, BatchesUnderWay | GeneratorExit):
            told = f"batches: {self._where_it_stands()}; {GO_ON}"
            self._desk.progress.note(told)
            error.add_note(told)

    # ------------------------------------------------------------------ requests, answers and money

    def _by_key(self, requests: Sequence[Request]) -> dict[str, Wanted]:
        wanted: dict[str, Wanted] = {}
        for position, request in enumerate(requests):
            key = self._desk.keys.of(request)
            if key in wanted:
                wanted[key].positions.append(position)
            else:
                wanted[key] = Wanted(key, request, [position])
        return wanted

    def _settle(
        self, wanted: dict[str, Wanted], item: Wanted, what: Reply | Failure, usd: float
    ) -> Iterator[tuple[int, Answer]]:
        """Hand an outcome to all who want it. Equal requests of one call are sent once."""
        del wanted[item.key]
        self._spend(usd)
        reply, failure = (what, None) if isinstance(what, Reply) else (None, what.reason)
        for number, position in enumerate(item.positions):
            yield position, Answer(reply, failure, usd, from_ledger=number > 0, key=item.key)

    def _spend(self, usd: float) -> None:
        if self._budget is not None and self._sending:
            self._budget.spent_usd += usd

    def _allowance(self, wanted: dict[str, Wanted], taken: set[str]) -> float | None:
        """USD that may still be spent: what is under way counts at its highest price."""
        if self._budget is None:
            return None
        if self._budget.limit_usd <= 0:  # nothing is sent, though it may cost nothing
            return -1.0
        reserved = sum(self._desk.highest_price(wanted[key]) for key in taken if key in wanted)
        return self._budget.limit_usd - self._budget.spent_usd - reserved

    def _exhausted(self, kept: int, total: int) -> BudgetExhausted:
        budget = self._budget
        assert budget is not None
        return BudgetExhausted(
            f"the budget of {budget.limit_usd:g} USD is used up ({budget.spent_usd:.4f} spent); {kept} of {total} "
            f"answers are there and kept, so raise {budget.knob} and run again to ask only for the rest"
        )
