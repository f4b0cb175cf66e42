"""Lines of the files of a batch: the request that goes in, and what a line of the output or error file means.

Format: https://platform.openai.com/docs/guides/batch. A line's outcome follows the rules of a request sent by itself
(`tasks.chat.errors`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel, JsonValue, ValidationError

from configs.schema import OpenAIEndpoint
from tasks.chat.body import read_reply
from tasks.chat.errors import Retry, say, verdict_on_status
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import EndpointError, EndpointRejected

PATH: Literal["/v1/chat/completions"] = "/v1/chat/completions"


class _Response(BaseModel):
    status_code: int
    body: JsonValue = None


class _Trouble(BaseModel):
    code: str | None = None
    message: str | None = None


class _Line(BaseModel):
    custom_id: str
    response: _Response | None = None
    error: _Trouble | None = None


@dataclass(frozen=True)
class Line:
    """One line of an output or error file: the request it is about, and what the endpoint says of it."""

    key: str
    status: int | None
    """HTTP status of the request; None for one that was never tried, as in a batch that expired."""
    body: JsonValue
    trouble: str


def request_line(endpoint: OpenAIEndpoint, length_name: str, key: str, messages: Sequence[Message]) -> bytes:
    """A line of an input file, newline included. `key` comes back as the custom_id of the answer."""
    body = {
        "model": endpoint.model,
        "messages": [message.json() for message in messages],
        "temperature": endpoint.temperature,
        length_name: endpoint.max_tokens,
    }
    line = {"custom_id": key, "method": "POST", "url": PATH, "body": body}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read_line(text: str) -> Line | None:
    """The line, or None for one that is no line of a batch's output."""
    try:
        line = _Line.model_validate_json(text)
    except ValidationError:
        return None
    trouble = line.error or _Trouble()
    told = say(": ".join(part for part in (trouble.code, trouble.message) if part)) or "no response and no error"
    if line.response is None:
        return Line(line.custom_id, None, None, told)
    return Line(line.custom_id, line.response.status_code, line.response.body, told)


def outcome_of(
    line: Line, messages: Sequence[Message], endpoint: OpenAIEndpoint, api_key: str | None
) -> Reply | Failure | Retry:
    """What came of a request. Raises EndpointRejected for what no request can get past."""
    if line.status is None:
        return Retry(line.trouble)
    if line.status == HTTPStatus.OK:
        return read_reply(json.dumps(line.body), messages, endpoint.max_tokens)
    code, told = _error_in(line)
    try:
        return verdict_on_status(line.status, code, say(told, api_key), {}, endpoint)
    except EndpointRejected:
        raise
    except EndpointError as error:
        return Failure(str(error))


def _error_in(line: Line) -> tuple[str | None, str]:
    """Code and words of an error, where the body or the line has them."""
    error = line.body.get("error", line.body) if isinstance(line.body, dict) else line.body
    if not isinstance(error, dict):
        return None, line.trouble if error is None else str(error)
    code, message = error.get("code"), error.get("message")
    return (str(code) if code else None), str(message or line.trouble)
