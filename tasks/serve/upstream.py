"""An engine that is a server already: any OpenAI-compatible one, asked through the `openai` client."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Literal

import openai
from PIL import Image

from model.records import IMAGE_TOKEN
from tasks.serve.asked import Asked, EngineFailed, Picture, Piece, PromptRefused, Said

BREAK = "\u200b"
"""No width, no letter: put into words that another server would read as markup."""
MARKUP = (IMAGE_TOKEN, "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")


class UpstreamEngine:
    """See `tasks.serve.asked.Engine`. `ended` is what closes the server, where it is ours."""

    def __init__(
        self, base_url: str, model: str, api_key: str, ended: Callable[[], Awaitable[None]] | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key=api_key, max_retries=0)
        self._model, self._ended, self._alive = model, ended, alive

    @property
    def alive(self) -> bool:
        """See `Engine`."""
        return self._alive()

    async def answer(self, asked: Asked) -> AsyncGenerator[Piece, None]:
        """See `Engine`."""
        messages: Any = [message_of(said) for said in asked.said]
        told: Any = {} if not asked.stop else {"stop": list(asked.stop)}
        finish: Literal["stop", "length"] = "stop"
        prompt = completion = 0
        try:
            stream = await self._client.chat.completions.create(
                model=self._model, messages=messages, max_tokens=asked.limit, stream=True,
                temperature=asked.sampling.temperature, top_p=asked.sampling.top_p, seed=asked.sampling.seed,
                stream_options={"include_usage": True}, **told,
            )
            async with stream:
                async for chunk in stream:
                    if chunk.usage is not None:
                        prompt, completion = chunk.usage.prompt_tokens, chunk.usage.completion_tokens
                    for choice in chunk.choices:
                        finish = "length" if choice.finish_reason == "length" else finish
                        if choice.delta.content:
                            yield Piece(choice.delta.content)
        except openai.BadRequestError as error:
            raise PromptRefused("refused_by_engine", "the engine refused the conversation") from error
        except openai.APIError as error:
            raise EngineFailed(f"the engine's server failed: {type(error).__name__}") from error
        yield Piece("", finish, prompt, completion)

    async def close(self) -> None:
        """See `Engine`."""
        await self._client.close()
        if self._ended is not None:
            await self._ended()


def message_of(said: Said) -> dict[str, Any]:
    """A message as OpenAI has it."""
    words = said.words
    for markup in MARKUP:
        words = words.replace(markup, markup[0] + BREAK + markup[1:])
    if not said.pictures:
        return {"role": said.role, "content": words}
    shown = [{"type": "image_url", "image_url": {"url": png_of(picture)}} for picture in said.pictures]
    return {"role": said.role, "content": [*shown, {"type": "text", "text": words}]}


def png_of(picture: Picture) -> str:
    """An image as a data URI."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (picture.width, picture.height), picture.octets).save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
