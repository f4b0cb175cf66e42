"""API keys: compared in constant time, kept as digests, never logged."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from http import HTTPStatus

from tasks.serve.failures import Refusal


class Keys:
    """The keys that may ask; without any, everybody may."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = tuple(_digest(key) for key in keys if key)

    @classmethod
    def of(cls, told: str) -> Keys:
        """Keys separated by commas."""
        return cls([key.strip() for key in told.split(",")])

    def check(self, authorization: str | None) -> None:
        """Raises Refusal unless the header `Authorization: Bearer KEY` holds one of them."""
        if not self._digests:
            return
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip() if scheme.lower() == "bearer" else "")
        # Every key is compared, so that the time tells nothing of which one it is.
        if not any([hmac.compare_digest(given, known) for known in self._digests]):
            raise Refusal(HTTPStatus.UNAUTHORIZED, "invalid_api_key", "send a valid API key (Authorization: Bearer)")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
