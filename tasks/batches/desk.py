"""What sending and fetching of batches share: the requests that are wanted, and whom to turn to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from configs.schema import BatchConfig
from tasks.artifacts import digest_of
from tasks.chat.batch import BatchClient
from tasks.chat.records import ChatClient, Message
from tasks.ledger.batches import BatchRows
from tasks.ledger.keys import Entry, Keys
from tasks.ledger.owner import new_owner
from tasks.ledger.records import Request
from tasks.progress import Progress

ORPHAN_SECONDS = 30.0
"""How long after its creation was asked for a batch may still turn up in the endpoint's list."""


@dataclass
class Wanted:
    """One key of a call, the positions that want its answer, and how many batches it was in without one."""

    key: str
    request: Request
    positions: list[int]
    tries: int = 0
    held: bool = False
    """Another worker had it when this one last tried to have it."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """What is asked."""
        return self.request.messages


@dataclass
class Desk:
    """Whom to turn to. `client` says what an answer is and costs when asked for by itself."""

    client: ChatClient
    provider: BatchClient
    rows: BatchRows
    purpose: str
    config: BatchConfig
    progress: Progress
    clock: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    orphan_seconds: float = ORPHAN_SECONDS
    who: str = field(default_factory=new_owner)
    keys: Keys = field(init=False)

    def __post_init__(self) -> None:
        self.keys = Keys(self.client.identity)

    @property
    def identity(self) -> str:
        """Digest of who answers and how."""
        return identity_of(self.client)

    def entry(self, item: Wanted) -> Entry:
        """How a request is written down."""
        return self.keys.entry(item.request, item.key, self.purpose, self.client.model, self.rows.prefixes)

    def highest_price(self, item: Wanted) -> float:
        """What a request can cost at most in a batch, in USD."""
        return self.client.highest_price(item.messages) * self.config.discount


def identity_of(client: ChatClient) -> str:
    """Digest of who answers and how: batches of another cannot hold requests of this client."""
    return digest_of(dict(client.identity))
