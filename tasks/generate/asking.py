"""Take every wish through its attempts: requests are drawn as the asker has room for them, answers used at once."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from tasks.errors import DataError
from tasks.generate.attempt import Accepted, Attempt, Judge, Rejection
from tasks.generate.spool import Spool
from tasks.ledger.ledger import Asker, Request
from tasks.progress import Progress

ROUND = 8192
"""Wishes a call of the asker: bounds what is in memory with one that draws all it is given at once."""


@dataclass
class Outcome:
    """What has come of the wishes so far. `accepted` holds `Accepted`, `rejected` `Rejection`, as JSON."""

    total: int
    accepted: Spool
    rejected: Spool
    reasons: Counter[str] = field(default_factory=Counter)
    """Of rejected wishes: the code of the last fault."""
    faults: Counter[str] = field(default_factory=Counter)
    """Of replies, those that were mended too."""

    def __len__(self) -> int:
        return len(self.accepted) + len(self.rejected)

    def accept(self, accepted: Accepted) -> None:
        """Keep a sample."""
        self.accepted[accepted.number] = accepted.model_dump_json(by_alias=True)

    def fault(self, attempt: Attempt, last: bool) -> None:
        """Count the fault of a reply; after the last attempt, reject the wish."""
        code = attempt.faults[-1].code
        self.faults[code] += 1
        if last:
            self.reasons[code] += 1
            self.rejected[attempt.number] = Rejection.of(attempt).model_dump_json()

    def check(self, max_share: float) -> None:
        """Raise DataError when more are rejected than may be of all."""
        rejected = self.reasons.total()
        if rejected > max_share * self.total:
            reasons = ", ".join(f"{reason} {number}" for reason, number in by_number(self.reasons).items())
            raise DataError(
                f"{rejected} of the {len(self)} conversations tried so far were rejected ({reasons}), which is above "
                f"generate.max_rejected_share={max_share:g} of {self.total}; use another teacher or other prompts"
            )


def by_number(counted: Mapping[str, int]) -> dict[str, int]:
    """Most frequent first."""
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


class Queue:
    """What is still to be asked: attempts to be made again, before wishes that are new."""

    def __init__(self, new: Iterator[Attempt]) -> None:
        self._new = new
        self._again: deque[Attempt] = deque()
        self._under_way: dict[int, Attempt] = {}

    def again(self, attempt: Attempt) -> None:
        """Ask once more."""
        self._again.append(attempt)

    def take(self, position: int) -> Attempt:
        """The attempt whose answer came, by its place among the requests of this round."""
        return self._under_way.pop(position)

    def rounds(self, size: int) -> Iterator[Iterator[Request]]:
        """Requests, lazily, in rounds of so many new wishes. What fails in a round is asked again in it or the next."""
        while (first := self._again.popleft() if self._again else next(self._new, None)) is not None:
            yield self._requests(first, islice(self._new, size - 1))

    def _requests(self, first: Attempt, new: Iterator[Attempt]) -> Iterator[Request]:
        attempt: Attempt | None = first
        position = 0
        while attempt is not None:
            self._under_way[position] = attempt
            yield attempt.request
            position += 1
            attempt = self._again.popleft() if self._again else next(new, None)


@dataclass(frozen=True)
class Asking:
    """Who is asked, who judges the replies, and when it is enough."""

    asker: Asker
    judge: Judge
    max_attempts: int
    max_rejected_share: float
    outcome: Outcome
    progress: Progress

    def ask(self, wishes: Iterator[Attempt]) -> None:
        """Ask until each wish is accepted or rejected; both go into the outcome.

        A fault is asked about again before new wishes are, so a teacher that talks nonsense is left before all is
        paid for. Raises DataError then, and whatever the asker raises.
        """
        queue = Queue(wishes)
        for requests in queue.rounds(max(ROUND, self.asker.wave)):
            answers = self.asker.ask(requests)
            try:
                for position, answer in answers:
                    tried = self.judge.tried(queue.take(position), answer)
                    if isinstance(tried, Attempt) and len(tried.faults) < self.max_attempts:
                        queue.again(tried)
                    self._note(tried)
            finally:
                # On an error this ends what is under way now, not when the error is forgotten.
                if isinstance(answers, Generator):
                    answers.close()

    def _note(self, tried: Accepted | Attempt) -> None:
        outcome = self.outcome
        if isinstance(tried, Accepted):
            outcome.accept(tried)
        else:
            outcome.fault(tried, last=len(tried.faults) >= self.max_attempts)
            outcome.check(self.max_rejected_share)
        used = self.asker.tally.used
        money = {"usd": round(used.usd, 4)} if used.usd else {}
        self.progress.update(len(outcome), outcome.total, rejected=len(outcome.rejected), **money)
