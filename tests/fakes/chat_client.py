"""A client that answers at once, and what tests of the ledger ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydantic import JsonValue

from tasks.chat.client import Failure, InTurn, Message, Reply, Usage, Window
from tasks.ledger.ledger import Answer, Request


class FakeClient:
    """Answers every request with its last message in capitals, one at a time; notes what was sent."""

    def __init__(
        self,
        costly: bool = True,
        cost: float = 0.0,
        highest: float = 0.0,
        fail: Callable[[str], str | None] = lambda text: None,
        model: str = "m",
    ) -> None:
        self.model, self.costly, self.cost, self.highest, self.fail = model, costly, cost, highest, fail
        self.patience = 30.0
        self.usage = Usage()
        self.sent: list[str] = []

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        return {"model": self.model}

    def complete(self, messages: Sequence[Message]) -> Reply:
        self.sent.append(messages[-1].content)
        return Reply(messages[-1].content.upper(), 3, 2)

    @contextmanager
    def window(self) -> Iterator[Window]:
        yield InTurn(self.outcome, 1 if self.costly else 500)

    def outcome(self, messages: Sequence[Message]) -> Reply | Failure:
        if reason := self.fail(messages[-1].content):
            self.sent.append(messages[-1].content)
            return Failure(reason)
        return self.complete(messages)

    def price(self, reply: Reply) -> float:
        return self.cost

    def highest_price(self, messages: Sequence[Message]) -> float:
        return self.highest or self.cost

    def close(self) -> None:
        pass


def ask_for(*texts: str) -> list[Request]:
    return [Request((Message("system", "s"), Message("user", text))) for text in texts]


def texts(answers: Iterable[tuple[int, Answer]]) -> dict[int, str | None]:
    return {position: answer.reply.text if answer.reply else None for position, answer in answers}
