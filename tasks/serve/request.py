"""The body of /v1/chat/completions, checked: what would change the answer and is not supported is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tasks.serve.failures import Refusal, bad


class Part(BaseModel):
    """Base of what is in a request: unknown fields are let through, as clients send more than is written down."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ImageUrl(Part):
    """A data URI, or a URL on a host that is allowed."""

    url: str
    detail: str | None = None


class TextPart(Part):
    """Words."""

    type: Literal["text"]
    text: str


class ImagePart(Part):
    """An image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Spoken(Part):
    """A message."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]


class StreamOptions(Part):
    """How it is streamed."""

    include_usage: bool = False


class ChatRequest(Part):
    """The body."""

    model: str
    messages: Annotated[list[Spoken], Field(min_length=1)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] | None = None
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    n: Literal[1] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    logit_bias: Annotated[dict[str, JsonValue], Field(max_length=0)] | None = None
    tools: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    functions: Annotated[list[JsonValue], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts that end the answer."""
        told = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(text for text in told if text)

    @property
    def tokens(self) -> int | None:
        """Longest answer, under either of its names."""
        return self.max_completion_tokens or self.max_tokens


class ResponseFormat(Part):
    """Plain text is the one there is."""

    type: Literal["text"]


def read_request(body: bytes) -> ChatRequest:
    """The request of a body. Raises Refusal that names the field."""
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _told(error) from error


def _told(error: ValidationError) -> Refusal:
    """The first thing that is wrong. What was sent is not repeated: it may be large, or secret."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        return bad("invalid_json", "the body is no valid JSON")
    if not where:
        return bad("invalid_request", "the body must be a JSON object")
    return bad("invalid_value", f"{where}: {first['msg'][:300]}", where)
