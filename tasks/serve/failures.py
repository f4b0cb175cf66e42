"""Errors as OpenAI's clients expect them: a status, and {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

TYPES = {
    HTTPStatus.BAD_REQUEST: "invalid_request_error",
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.NOT_FOUND: "invalid_request_error",
    HTTPStatus.METHOD_NOT_ALLOWED: "invalid_request_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "invalid_request_error",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "invalid_request_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "server_overloaded",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}


@dataclass(eq=False)
class Refusal(Exception):
    """A request that is not answered. `code` is what programs and the metrics tell kinds apart by."""

    status: HTTPStatus
    code: str
    message: str
    param: str | None = None
    retry_after: int | None = None
    """Seconds after which it is worth another try."""

    def __str__(self) -> str:
        return self.message

    def body(self) -> dict[str, object]:
        """The answer's JSON."""
        kind = TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Headers of the answer."""
        told = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return told | ({"WWW-Authenticate": "Bearer"} if self.status == HTTPStatus.UNAUTHORIZED else {})


def bad(code: str, message: str, param: str | None = None) -> Refusal:
    """A request that is wrong in itself."""
    return Refusal(HTTPStatus.BAD_REQUEST, code, message, param)


def broken() -> Refusal:
    """Something went wrong on our side; what it was is logged and not told."""
    return Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "the server failed to answer; try again")
