"""A client that never sends: what the ledger has the answer to is answered, anything else is an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from pydantic import JsonValue

from tasks.chat.records import ChatClient, Failure, Message, Reply, Usage, Window
from tasks.errors import EndpointError


class SilentClient:
    """Stands for another client, under whose name the ledger knows the answers. See `ChatClient`."""

    costly = True
    free = 0
    """There is room for no request, so none is ever claimed in the ledger."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self.usage = Usage()

    @property
    def model(self) -> str:
        """See `ChatClient`."""
        return self._client.model

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """See `ChatClient`."""
        return self._client.identity

    @property
    def patience(self) -> float:
        """See `ChatClient`."""
        return self._client.patience

    def complete(self, messages: Sequence[Message]) -> Reply:
        """Raises EndpointError."""
        self._refuse()

    @contextmanager
    def window(self) -> Iterator[Window]:
        """Itself: it has no room, and whoever waits for some is told so."""
        yield self

    def send(self, requests: Sequence[tuple[int, Sequence[Message]]]) -> None:
        """Raises EndpointError."""
        self._refuse()

    def land(self, hungry: bool, seconds: float) -> list[tuple[int, Reply | Failure]]:
        """Raises EndpointError: something is wanted that the ledger has not."""
        self._refuse()

    def price(self, reply: Reply) -> float:
        """See `ChatClient`."""
        return 0.0

    def highest_price(self, messages: Sequence[Message]) -> float:
        """See `ChatClient`."""
        return 0.0

    def close(self) -> None:
        """Nothing of its own is open."""

    def _refuse(self) -> NoReturn:
        raise EndpointError(
            f"the ledger has no answer of {self.model} to a request, and LLAVAFLOW_LEDGER_ONLY lets none be sent; "
            "unset it to ask and pay"
        )
