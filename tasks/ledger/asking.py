"""One pass of requests through the ledger: known answers out of it, the others from the client, written down first.

Requests are drawn some hundreds ahead and nothing is kept of what is done, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from tasks.chat.records import ChatClient, Failure, Message, Reply, Window
from tasks.errors import BudgetExhausted
from tasks.ledger.keys import Keys
from tasks.ledger.owner import new_owner
from tasks.ledger.records import Answer, Budget, Request
from tasks.ledger.rows import Kept, Landed, Rows

AHEAD = 500
"""Requests that are looked up together."""
LEASE_MARGIN = 60.0
POLL_SECONDS = 0.5
"""How often answers of other workers are looked for."""


@dataclass(eq=False)
class _Wanted:
    """One key that is not answered yet, and the positions that want its answer."""

    key: str
    request: Request
    positions: list[int]
    reserved_usd: float = 0.0

    @property
    def messages(self) -> Sequence[Message]:
        return self.request.messages


class Asking:
    """One call of `Ledger.ask`."""

    def __init__(
        self, rows: Rows, clock: Callable[[], float], sleep: Callable[[float], None], client: ChatClient,
        requests: Iterable[Request], purpose: str, budget: Budget | None,
    ) -> None:
        self._rows, self._clock, self._sleep, self._client = rows, clock, sleep, client
        self._purpose, self._budget = purpose, budget
        self._source = enumerate(requests)
        self._keys = Keys(client.identity)
        self._owner = new_owner()
        self._lease = client.patience + LEASE_MARGIN
        self._drawn_out = False
        self._wanted: dict[str, _Wanted] = {}
        """All that is not answered: what is ready, held or under way."""
        self._ready: deque[_Wanted] = deque()
        self._held: list[_Wanted] = []
        """Under way at another worker."""
        self._looked = self._renewed = clock()
        self._under_way: dict[int, _Wanted] = {}
        self._sent = self._kept = 0
        self._reserved_usd = 0.0
        self._too_dear = False
        """The next request costs more than is left while others are under way."""

    def answers(self) -> Iterator[tuple[int, Answer]]:
        """See `Ledger.ask`."""
        with self._client.window() as window:
            try:
                landed: Sequence[tuple[int, Reply | Failure]] = ()
                while True:
                    yield from self._exchange(window, landed)
                    yield from self._draw()
                    if not self._wanted and self._drawn_out:
                        return
                    landed = self._land(window)
            finally:
                # What was under way stays visible as such, and the next to ask may take it.
                self._rows.renew((item.key for item in self._under_way.values()), self._owner, self._clock())

    # ------------------------------------------------------------------ drawing requests and looking them up

    def _draw(self) -> Iterator[tuple[int, Answer]]:
        """Look further requests up until some are ready to be sent; hand out the answers that are there."""
        while not self._drawn_out and len(self._ready) < AHEAD // 2 and len(self._held) < AHEAD:
            drawn = list(islice(self._source, AHEAD))
            self._drawn_out = len(drawn) < AHEAD
            new: list[_Wanted] = []
            for position, request in drawn:
                key = self._keys.of(request)
                if (item := self._wanted.get(key)) is not None:
                    item.positions.append(position)
                else:
                    item = self._wanted[key] = _Wanted(key, request, [position])
                    new.append(item)
            yield from self._look_up(new, self._ready.append)

    def _look_up(
        self, items: Sequence[_Wanted], otherwise: Callable[[_Wanted], None]
    ) -> Iterator[tuple[int, Answer]]:
        """Hand out what the ledger has; `otherwise` takes the rest."""
        known: Mapping[str, Kept] = self._rows.answers([item.key for item in items])
        done: list[tuple[_Wanted, Kept]] = []
        for item in items:
            if (kept := known.get(item.key)) is None:
                otherwise(item)
            else:
                del self._wanted[item.key]
                done.append((item, kept))
        for item, kept in done:
            if self._budget is not None:
                self._budget.spent_usd += kept.usd
            answer = Answer(kept.reply, usd=kept.usd, from_ledger=True, key=item.key)
            yield from ((position, answer) for position in item.positions)

    # ------------------------------------------------------------------ sending and writing down

    def _exchange(
        self, window: Window, landed: Sequence[tuple[int, Reply | Failure]]
    ) -> Iterator[tuple[int, Answer]]:
        """Commit what has landed together with the claims of what is sent next; send that; hand out the answers."""
        now = self._clock()
        came_down = [(self._under_way[number], _dated(outcome, now)) for number, outcome in landed]
        answers = [(item, self._priced(item, outcome)) for item, outcome in came_down]
        claimed = self._affordable(window.free)
        entries = [
            self._keys.entry(item.request, item.key, self._purpose, self._client.model, self._rows.prefixes)
            for item in claimed
        ]
        outcomes = [
            Landed(item.key, outcome, answer.usd)
            for (item, outcome), (_, answer) in zip(came_down, answers, strict=True)
        ]
        came = self._rows.exchange(outcomes, entries, self._owner, now, now + self._lease)
        for number, _ in landed:
            del self._wanted[self._under_way.pop(number).key]
        self._send(window, [item for item in claimed if came[item.key] == "ours"])
        others = [item for item in claimed if came[item.key] != "ours"]
        for item in others:
            self._release(item)
        for item, answer in answers:
            self._kept += answer.reply is not None
            yield from _to_all(item, answer)
        if others:
            yield from self._look_up(others, self._held.append)

    def _priced(self, item: _Wanted, outcome: Reply | Failure) -> Answer:
        """The answer that an outcome makes; what it really cost takes the place of what was reserved."""
        self._release(item)
        if isinstance(outcome, Failure):
            return Answer(None, outcome.reason, key=item.key)
        usd = self._client.price(outcome)
        if self._budget is not None:
            self._budget.spent_usd += usd
        return Answer(outcome, usd=usd, key=item.key)

    def _affordable(self, places: int) -> list[_Wanted]:
        """Take up to so many of what is ready, as long as the most that all under way can cost is there to be spent."""
        taken: list[_Wanted] = []
        self._too_dear = False
        while self._ready and len(taken) < places:
            price = self._client.highest_price(self._ready[0].messages)
            if self._budget is not None and not self._pays(self._budget, price):
                self._too_dear = True
                break
            item = self._ready.popleft()
            item.reserved_usd = price
            self._reserved_usd += price
            taken.append(item)
        return taken

    def _pays(self, budget: Budget, price: float) -> bool:
        nothing_at_all = budget.limit_usd <= 0 and self._client.costly
        return not nothing_at_all and budget.spent_usd + self._reserved_usd + price <= budget.limit_usd

    def _release(self, item: _Wanted) -> None:
        self._reserved_usd -= item.reserved_usd
        item.reserved_usd = 0.0

    def _send(self, window: Window, items: Sequence[_Wanted]) -> None:
        numbered = {self._sent + place: item for place, item in enumerate(items)}
        self._sent += len(items)
        self._under_way |= numbered
        if numbered:
            window.send([(number, item.messages) for number, item in numbered.items()])

    # ------------------------------------------------------------------ waiting

    def _land(self, window: Window) -> list[tuple[int, Reply | Failure]]:
        """Wait for outcomes, for places, or for other workers. Raises BudgetExhausted and what the window raises."""
        idle = not self._under_way
        if idle and self._too_dear and self._budget is not None:
            raise _exhausted(self._budget, self._kept)
        waiting = idle and not self._ready
        if self._held and (waiting or self._clock() - self._looked >= POLL_SECONDS):
            if waiting:
                self._sleep(POLL_SECONDS)
            self._looked = self._clock()
            self._ready.extend(self._held)
            self._held = []
            return []
        self._renew()
        hungry = bool(self._ready) and not self._too_dear
        return window.land(hungry, POLL_SECONDS if self._held else self._lease / 4)

    def _renew(self) -> None:
        """Leases end late, and are moved on before: an outage may keep requests under way for long."""
        now = self._clock()
        if now - self._renewed >= self._lease / 4:
            self._rows.renew((item.key for item in self._under_way.values()), self._owner, now + self._lease)
            self._renewed = now


def _dated(outcome: Reply | Failure, now: float) -> Reply | Failure:
    """The outcome with the moment at which it is written down."""
    return replace(outcome, answered=now) if isinstance(outcome, Reply) else outcome


def _to_all(item: _Wanted, answer: Answer) -> Iterator[tuple[int, Answer]]:
    """Equal requests are sent once: the others have their answer from the ledger."""
    first, *others = item.positions
    yield first, answer
    again = Answer(answer.reply, answer.failure, answer.usd, from_ledger=True, key=item.key)
    yield from ((position, again) for position in others)


def _exhausted(budget: Budget, kept: int) -> BudgetExhausted:
    if budget.limit_usd <= 0:
        return BudgetExhausted(
            f"a budget of 0 USD lets nothing be sent; raise {budget.knob}, or set it to null for no limit"
        )
    return BudgetExhausted(
        f"the budget of {budget.limit_usd:g} USD is used up ({budget.spent_usd:.4f} spent); {kept} answers came and "
        f"are kept, so raise {budget.knob} and run again to ask only for the rest"
    )
