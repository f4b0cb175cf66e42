"""The knobs of the endpoint (`llavaflow serve`). It is no part of an experiment: nothing that is made depends on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from configs.schema import Knobs, Share


class Limits(Knobs):
    """What one request, and all at once, may ask for."""

    request_bytes: PositiveInt = 24_000_000
    """Size of a request's body; images are in it, a third larger than their files."""
    images: PositiveInt = 8
    """Images of a conversation."""
    image_bytes: PositiveInt = 16_000_000
    """Size of an image file."""
    image_pixels: PositiveInt = 32_000_000
    """Pixels of an image, told by its header before it is decoded."""
    messages: PositiveInt = 200
    """Messages of a conversation."""
    text_chars: PositiveInt = 100_000
    """Letters of a conversation's words."""
    answer_tokens: PositiveInt = 1024
    """Longest answer in tokens; more is refused. An answer never outgrows the positions of the model."""
    default_tokens: PositiveInt = 256
    """Longest answer where the request names none."""
    concurrency: PositiveInt = 16
    """Answers under way at the same time: the batch."""
    queue: Annotated[int, Field(ge=0)] = 112
    """Requests that wait for one of those places; more are refused."""
    seconds: PositiveFloat = 120.0
    """Longest that a request may take, its wait and its upload among it."""


class Fetching(Knobs):
    """Images that a request names by a URL."""

    hosts: tuple[str, ...] = ()
    """Hosts that images may be fetched from; by default none. A name alone, without port."""
    seconds: PositiveFloat = 10.0
    """Longest that a fetch may take."""


class Following(Knobs):
    """How a moved alias is followed."""

    poll_seconds: PositiveFloat = 5.0
    """How often the registry is asked where the alias points."""
    probation_seconds: Annotated[float, Field(ge=0.0)] = 60.0
    """How long the model before is kept beside a new one, ready to go back to."""
    probation_failures: PositiveInt = 3
    """Engine errors of the new model in that time after which it is taken back."""
    start_seconds: PositiveFloat = 300.0
    """Longest that an engine may take to load a model."""
    drain_seconds: PositiveFloat = 150.0
    """How long a model that was replaced is kept for the requests that are under way on it."""


class Shadow(Knobs):
    """A challenger that answers a share of the traffic beside the champion; only the champion's answer is returned."""

    model: str | None = None
    """The challenger, named as the model itself is, e.g. models:/llavaflow@challenger."""
    share: Share = 0.05
    """Share of the requests that both answer."""
    waiting: PositiveInt = 32
    """Pairs that may be under way; requests beyond are answered by the champion alone, and counted."""


class ServeConfig(Knobs):
    """The endpoint."""

    engine: Literal["auto", "batched", "vllm"] = "auto"
    """`batched`: our running batch in a process of its own. `vllm`: vLLM as a server of its own, where it is installed.
    `auto`: vLLM where it and a GPU are there, else `batched`."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the batched engine."""
    threads: PositiveInt = 1
    """Threads of the batched engine's arithmetic; on a GPU one is enough."""
    limits: Limits = Limits()
    fetching: Fetching = Fetching()
    following: Following = Following()
    shadow: Shadow = Shadow()
