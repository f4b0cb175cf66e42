"""What is asked of the ledger and what it answers: the words that it shares with the stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from tasks.chat.records import Message, Reply, Usage


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
    key: str = ""
    """Under which the ledger keeps it."""


@dataclass
class Budget:
    """A money limit over the answers of one experiment, whether paid for in this run or an earlier one.

    What earlier runs paid counts from when the run comes to it, so this run never spends more than the limit, and the
    experiment as a whole not either as long as runs ask in the same order.
    """

    limit_usd: float
    knob: str
    """The setting to raise, for the message."""
    spent_usd: float = 0.0


@dataclass(frozen=True)
class Tally:
    """Sums over answers: `asked` were sent to the endpoint, `from_ledger` were not."""

    asked: int = 0
    from_ledger: int = 0
    failed: int = 0
    estimated: int = 0
    """Replies whose token figures, and so whose cost, are estimates: the endpoint gave none that can be right."""
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
            estimated=self.estimated + (reply is not None and reply.estimated),
            used=self.used if known else self.used + cost,
            saved=self.saved + cost if known else self.saved,
        )


class Asker(Protocol):
    """Who stages ask. `tasks.ledger.LedgerAsker` is the one of every run."""

    @property
    def model(self) -> str:
        """Name of the model that answers."""

    def ask(self, requests: Iterable[Request]) -> Iterator[tuple[int, Answer]]:
        """(position, answer) of every request, in the order of arrival. Raises EndpointError, BudgetExhausted.

        `requests` is drawn from as answers come, some hundreds ahead at most.
        """

    @property
    def tally(self) -> Tally:
        """What was asked and paid so far."""

    @property
    def wave(self) -> int:
        """How many requests that may be asked again are best taken through all their attempts together."""
