"""An OpenAI-compatible endpoint as the page uses it: which models there are, and one answer piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncOpenAI, Timeout

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

Kind = Literal["gone", "cut", "busy", "slow", "refused", "model", "key", "failed"]
LONGEST_DETAIL = 300
CONNECT_SECONDS, SILENCE_SECONDS, LIST_SECONDS = 5.0, 120.0, 4.0


class Trouble(Exception):
    """The endpoint did not answer as it should; `kind` names the words for it (`error_<kind>`)."""

    def __init__(self, kind: Kind, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: Kind = kind
        self.detail = detail


@dataclass(frozen=True)
class Asked:
    """How an answer is asked for."""

    model: str
    messages: list[dict[str, Any]]
    temperature: float
    max_tokens: int


@dataclass(frozen=True)
class Piece:
    """A part of an answer. What the endpoint says of model and tokens may come with any of them."""

    text: str = ""
    model: str = ""
    tokens: int | None = None


class Endpoint:
    """The endpoint at a base URL (that ends in /v1). Connects on first use, in the event loop that first asks."""

    def __init__(self, base_url: str, api_key: str = "none") -> None:
        self.base_url = base_url
        self._api_key = api_key
        self._client: AsyncOpenAI | None = None

    async def models(self) -> list[str]:
        """Names of the models that it offers. Raises Trouble."""
        try:
            listed = await self._connected().with_options(timeout=LIST_SECONDS).models.list()
        except APIError as error:
            raise _trouble(error) from error
        return [model.id for model in listed.data]

    async def stream(self, asked: Asked) -> AsyncIterator[Piece]:
        """One answer. Closing the iterator hangs up, which ends the work at the other end, too. Raises Trouble."""
        begun = False
        messages = cast("list[ChatCompletionMessageParam]", asked.messages)
        try:
            async with await self._connected().chat.completions.create(
                model=asked.model, messages=messages, temperature=asked.temperature,
                max_tokens=asked.max_tokens, stream=True, stream_options={"include_usage": True},
            ) as chunks:
                async for chunk in chunks:
                    text = (chunk.choices[0].delta.content or "") if chunk.choices else ""
                    begun = begun or bool(text)
                    yield Piece(text, chunk.model or "", chunk.usage.completion_tokens if chunk.usage else None)
        except APIError as error:
            raise _trouble(error, begun) from error

    async def close(self) -> None:
        """Close its connections."""
        if self._client is not None:
            await self._client.close()

    def _connected(self) -> AsyncOpenAI:
        if self._client is None:
            # No retries: a person waits, and has a button for it.
            self._client = AsyncOpenAI(
                base_url=self.base_url, api_key=self._api_key, max_retries=0,
                timeout=Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS),
            )
        return self._client


def _trouble(error: APIError, begun: bool = False) -> Trouble:
    if isinstance(error, APITimeoutError):
        return Trouble("cut" if begun else "slow")
    if isinstance(error, APIConnectionError):
        return Trouble("cut" if begun else "gone")
    detail = _detail(error)
    if isinstance(error, APIStatusError):
        kinds: dict[int, Kind] = {401: "key", 403: "key", 404: "model", 408: "slow", 429: "busy", 503: "busy"}
        return Trouble(kinds.get(error.status_code, "failed" if error.status_code >= 500 else "refused"), detail)
    return Trouble("cut" if begun else "failed", detail)


def _detail(error: APIError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    return str(body.get("message") or error.message)[:LONGEST_DETAIL]
