"""What was asked, answered and paid, exactly once.

Every request has a key: a digest of all that shapes its answer. An answered key is never sent again, in this run or
any later one. An answer is committed before it is handed out, so a run that is killed goes on where it was. A request
that was under way at that moment is left `in_flight`: its lease tells other workers to wait, and its owner's death,
or the end of the lease, lets the next to ask send it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from tasks.chat.records import ChatClient, Failure, Message, Reply
from tasks.ledger.asking import Asking
from tasks.ledger.keys import Keys
from tasks.ledger.records import Answer, Asker, Budget, Request, Tally
from tasks.ledger.rows import OpenRequest, Rows

__all__ = ["Answer", "Asker", "Budget", "Ledger", "LedgerAsker", "OpenRequest", "Request", "Tally", "key_of"]


WAVE = 250


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
        self, client: ChatClient, requests: Iterable[Request], purpose: str, budget: Budget | None = None
    ) -> Iterator[tuple[int, Answer]]:
        """(position, answer) of every request, from the ledger or from the client, committed before it is yielded.

        `requests` is drawn from as answers come, some hundreds ahead. A request that failed for good yields an answer
        without reply and is sent again when asked for again. Raises EndpointError and BudgetExhausted when nothing
        more can be sent, after all that was under way has been yielded.
        """
        yield from Asking(self._rows, self._clock, self._sleep, client, requests, purpose, budget).answers()


class LedgerAsker:
    """A client behind the ledger, with a purpose and a budget, counting."""

    def __init__(self, ledger: Ledger, client: ChatClient, purpose: str, budget: Budget | None = None) -> None:
        self.tally = Tally()
        self._ledger, self._client, self._purpose, self._budget = ledger, client, purpose, budget

    @property
    def model(self) -> str:
        """Name of the model that answers."""
        return self._client.model

    @property
    def wave(self) -> int:
        """Few: a model that answers nonsense is left before all is paid for."""
        return WAVE

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
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


def key_of(client: ChatClient, request: Request) -> str:
    """Digest of all that shapes the answer: who answers and how it samples, the messages, the attempt."""
    return Keys(client.identity).of(request)
