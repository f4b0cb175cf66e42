"""The Batch API of an OpenAI-compatible endpoint: upload, create, find, look at, fetch.

Every call is retried as a request for an answer is, except that a creation whose outcome is unknown is looked for
before it is tried again: a batch that was made twice is paid for twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from random import SystemRandom
from typing import IO, TypeVar, cast
from urllib.parse import urlsplit

import openai
from openai.types import Batch

from configs.schema import OpenAIEndpoint
from tasks.chat.batch_lines import PATH, Line, outcome_of, request_line
from tasks.chat.errors import Retry, say, verdict_on
from tasks.chat.openai import FIRST_PAUSE, LONGEST_PAUSE, LOOPBACK
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import EndpointError, EndpointRejected

ENDED = ("completed", "expired", "cancelled", "failed")
"""States in which nothing more comes."""
NAME, KEYS = "llavaflow_batch", "llavaflow_keys"
"""Fields of our batches' metadata: the name that the ledger gave, and the digest of the keys."""
FULL = ("token_limit_exceeded", "request_limit_exceeded")
"""Codes of a batch that failed because too much is under way already."""
MAY_BE_DONE = (408, 409, 425)
"""Refusals after which something may have been made all the same, beside 5xx."""
CLOCKS_APART = 3600.0
"""Seconds by which the endpoint's clock and ours may differ."""

Result = TypeVar("Result")


class UnknownOutcome(EndpointError):
    """A batch may have been started, or not: it is to be looked for before it is started again."""


@dataclass(frozen=True)
class Standing:
    """Where a batch stands at the endpoint."""

    id: str
    status: str
    completed: int
    failed: int
    total: int
    files: tuple[str, ...]
    """Ids of the output file and the error file, as far as there are any."""
    errors: tuple[str, ...]
    """Why it failed as a whole, one line each."""
    full: bool
    """It failed because too much is under way, which passes."""

    @property
    def ended(self) -> bool:
        """True if nothing more comes."""
        return self.status in ENDED

    @property
    def line(self) -> str:
        """In a few words."""
        return f"{self.id} {self.status}, {self.completed} of {self.total} answered, {self.failed} failed"


class BatchClient:
    """An endpoint's Batch API. `sleep` waits between tries."""

    def __init__(
        self, endpoint: OpenAIEndpoint, api_key: str | None, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.endpoint = endpoint
        self._key, self._sleep, self._jitter = api_key, sleep, SystemRandom()
        self._length_name = "max_tokens"
        # A proxy of the environment is for the outside; an endpoint on this machine is reached directly.
        outside = urlsplit(endpoint.base_url).hostname not in LOOPBACK
        self._client = openai.OpenAI(
            base_url=endpoint.base_url, api_key=api_key or "none", max_retries=0, timeout=endpoint.timeout_seconds,
            http_client=openai.DefaultHttpxClient(
                trust_env=outside, base_url=endpoint.base_url, timeout=endpoint.timeout_seconds
            ),
        )

    @property
    def patience(self) -> float:
        """Seconds within which a batch is sent or given up."""
        return 3 * (self.endpoint.max_retries + 1) * (self.endpoint.timeout_seconds + LONGEST_PAUSE)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # ------------------------------------------------------------------ lines

    def request_line(self, key: str, messages: Sequence[Message]) -> bytes:
        """A line of an input file."""
        return request_line(self.endpoint, self._length_name, key, messages)

    def outcome(self, line: Line, messages: Sequence[Message]) -> Reply | Failure | Retry:
        """What came of a request. Raises EndpointRejected for what no request can get past."""
        outcome = outcome_of(line, messages, self.endpoint, self._key)
        # Newer OpenAI models refuse `max_tokens` and want the same number under another name.
        if isinstance(outcome, Failure) and "max_completion_tokens" in outcome.reason:
            self._length_name = "max_completion_tokens"
            return Retry(outcome.reason)
        return outcome

    # ------------------------------------------------------------------ calls

    def upload(self, name: str, lines: IO[bytes]) -> str:
        """Upload an input file and return its id. Raises EndpointRejected or EndpointError."""

        def send() -> str:
            lines.seek(0)
            return self._client.files.create(file=(f"{name}.jsonl", lines), purpose="batch").id

        return self._persist(send)

    def create(self, name: str, keys: str, input_file: str, since: float) -> Standing:
        """Start the batch of an input file, once, whatever happens on the way.

        Raises UnknownOutcome if it may have been started all the same, EndpointRejected or EndpointError if not.
        """
        unknown = False

        def start() -> Standing:
            nonlocal unknown
            if unknown and (found := self._find(name, since)) is not None:
                return found
            unknown = True
            try:
                batch = self._client.batches.create(
                    completion_window="24h", endpoint=PATH, input_file_id=input_file,
                    metadata={NAME: name, KEYS: keys},
                )
            except openai.APIStatusError as error:
                unknown = error.status_code >= 500 or error.status_code in MAY_BE_DONE
                raise
            return _standing(batch)

        try:
            return self._persist(start)
        except EndpointError as error:
            if unknown:
                raise UnknownOutcome(str(error)) from error
            raise

    def find(self, name: str, since: float) -> Standing | None:
        """The batch of that name, if the endpoint has one that was made after `since` (seconds since the epoch)."""
        return self._persist(lambda: self._find(name, since))

    def look(self, batch: str) -> Standing:
        """Where a batch stands."""
        return self._persist(lambda: _standing(self._client.batches.retrieve(batch)))

    def lines(self, file: str) -> Iterator[str]:
        """The lines of a file at the endpoint, once all of it has arrived. All of it is held in memory."""
        whole = self._persist(lambda: self._client.files.content(file).content)
        for line in BytesIO(whole):
            if text := line.decode("utf-8", errors="replace").strip():
                yield text

    def _find(self, name: str, since: float) -> Standing | None:
        for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get(NAME) == name:
                return _standing(batch)
            if batch.created_at < since - CLOCKS_APART:  # they come newest first
                break
        return None

    def _persist(self, call: Callable[[], Result]) -> Result:
        tried = 0
        while True:
            try:
                return call()
            except openai.APIError as error:
                verdict = self._verdict(error)
            tried += 1
            if tried > self.endpoint.max_retries:
                raise EndpointError(
                    f"{self.endpoint.base_url} did not answer in {tried} tries: {verdict.reason}; batches that were "
                    "sent go on there, so run the same command again to fetch them"
                )
            self._sleep(self._pause(verdict, tried))

    def _verdict(self, error: openai.APIError) -> Retry:
        if isinstance(error, openai.NotFoundError):
            raise EndpointRejected(
                f"{self.endpoint.base_url} has no Batch API, or not what was asked of it (HTTP 404: "
                f"{say(error.message, self._key)}); use the key that the batch was sent with, or set batch to null"
            ) from error
        if isinstance(error, openai.APIStatusError) and error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise EndpointError(
                f"{self.endpoint.base_url} takes no input file of that size (HTTP 413); lower batch.max_bytes or "
                "batch.max_requests"
            ) from error
        return verdict_on(error, self.endpoint, self._key)

    def _pause(self, verdict: Retry, tried: int) -> float:
        if verdict.after is not None:
            return verdict.after + self._jitter.uniform(0.0, 0.1)
        return float(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tried - 1)) * self._jitter.uniform(0.75, 1.25))


def _standing(batch: Batch) -> Standing:
    # The package builds its models without validation: a server may leave out what it likes.
    counts = batch.request_counts
    told = (batch.errors.data if batch.errors else None) or []
    return Standing(
        id=batch.id,
        status=cast(str, batch.status),
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        total=counts.total if counts else 0,
        files=tuple(file for file in (batch.output_file_id, batch.error_file_id) if file),
        errors=tuple(_told(error.code, error.line, error.message) for error in told),
        full=bool(told) and all(error.code in FULL for error in told),
    )


def _told(code: str | None, line: int | None, message: str | None) -> str:
    where = f" (line {line})" if line is not None else ""
    return f"{code or 'error'}{where}: {say(message or 'no reason given')}"
