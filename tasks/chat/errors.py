"""What an error of an OpenAI-compatible endpoint means: try again, and when, or give up, and what to tell the user."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import openai

from configs.schema import OpenAIEndpoint
from tasks.errors import EndpointError, EndpointRejected

LONGEST_QUOTE = 160
LONGEST_ORDERED_PAUSE = 120.0
"""Seconds beyond which a Retry-After is not waited for."""
NEVER_CURED = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
"""Codes that come with 429 but mean that the account is empty."""
AGAIN = (408, 409, 425, 429)


TOO_MANY = (429, 503, 529)
"""Statuses that ask for fewer requests at once."""


class EndpointDown(EndpointError):
    """Nothing has ever answered at the address: no request can succeed."""


class EndpointBusy(EndpointError):
    """The endpoint orders a pause that is longer than a run waits for."""


@dataclass(frozen=True)
class Retry:
    """The request may be sent again: at once by back-off, or `after` so many seconds that the server ordered.

    `down` says that no connection could be made at all, `too_many` that the endpoint wants fewer requests at once.
    """

    reason: str
    after: float | None = None
    down: bool = False
    too_many: bool = False


def verdict_on(error: openai.APIError, endpoint: OpenAIEndpoint, api_key: str | None) -> Retry:
    """Whether and when to try again.

    Raises EndpointRejected for what no request can get past (key, model, account), EndpointBusy for a pause that is
    too long, EndpointError for what this request cannot get past.
    """
    if isinstance(error, openai.APITimeoutError):
        return too_late(endpoint)
    if isinstance(error, openai.APIConnectionError):
        cause = type(error.__cause__).__name__
        return Retry(f"the connection failed ({cause})", down=cause in ("ConnectError", "ConnectTimeout"))
    if not isinstance(error, openai.APIStatusError):
        return Retry(f"its answer could not be read ({type(error).__name__})")
    told = say(error.message, api_key)
    return verdict_on_status(error.status_code, error.code, told, error.response.headers, endpoint)


def verdict_on_status(
    status: int, code: str | None, told: str, headers: Mapping[str, str], endpoint: OpenAIEndpoint
) -> Retry:
    """`verdict_on` of an HTTP status that means an error, with the code and the words that came with it."""
    _reject(status, code, told, endpoint)
    if status in AGAIN or status >= 500:
        after = retry_after(headers, datetime.now(UTC))
        if after is not None and after > LONGEST_ORDERED_PAUSE:
            raise EndpointBusy(f"{endpoint.base_url} asks to wait {after:.0f} s (HTTP {status}); run again then")
        return Retry(f"HTTP {status}: {told}", after, too_many=status in TOO_MANY)
    raise EndpointError(f"{endpoint.base_url} refuses the request (HTTP {status}): {told}")


def too_late(endpoint: OpenAIEndpoint) -> Retry:
    """The verdict on a try that took too long."""
    return Retry(f"no answer within {endpoint.timeout_seconds:g} s", too_many=True)


def _reject(status: int, code: str | None, told: str, endpoint: OpenAIEndpoint) -> None:
    """Raise EndpointRejected if the status is one that holds for every request."""
    url = endpoint.base_url
    if status in (401, 403):
        raise EndpointRejected(
            f"{url} refuses the key (HTTP {status}); put a valid one into the environment variable "
            f"{endpoint.api_key_env}"
        )
    if status == 404:
        raise EndpointRejected(f"{url} knows no model {endpoint.model!r} (HTTP 404: {told}); correct model or base_url")
    if code in NEVER_CURED:
        raise EndpointRejected(f"{url} refuses the account behind {endpoint.api_key_env} ({code}): {told}")


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds that a server asks to wait, given as seconds or as an HTTP date; None where it does not say.

    What is neither a number of seconds from 0 on nor a date is as if it were not there.
    """
    milliseconds, value = headers.get("retry-after-ms"), headers.get("retry-after")
    seconds = _number(milliseconds)
    if seconds is not None:
        return seconds / 1000
    if (seconds := _number(value)) is not None:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value or "") - now).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def say(text: str, secret: str | None = None) -> str:
    """A server's words on one short line, without the key."""
    line = " ".join(text.split())
    if secret:
        line = line.replace(secret, "[key]")
    return line if len(line) <= LONGEST_QUOTE else line[:LONGEST_QUOTE] + "..."
