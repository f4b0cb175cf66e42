"""Answers under way in one running batch: who has ended leaves, who waits takes the place.

Prompts come in longest first, so that each fits in front of the cursor (see `slots`), neighbours in a pass over
prompts are of like length, and memory is at its highest at the start.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from model.decode.choose import dice, next_tokens
from model.decode.forward import Forward
from model.decode.images import ImagesAhead
from model.decode.slots import Slots
from model.images import ImageTransform
from model.sampling import Sampling

PREFILL_TOKENS = 8192
"""Most tokens in one pass over prompts, pads counted: bounds memory."""
REFILL_SHARE = 4
"""A pass over new prompts is worth its while once one row in so many is free."""


@dataclass(frozen=True)
class Job:
    """A question as the engine takes it: `number` names it, `limit` bounds its answer in tokens."""

    number: int
    prompt: tuple[int, ...]
    image: Path | None
    limit: int
    sampling: Sampling
    more_images: tuple[Path, ...] = ()

    @property
    def images(self) -> tuple[Path, ...]:
        """Its images, in the order of their tokens."""
        return () if self.image is None else (self.image, *self.more_images)


@dataclass
class Row:
    """An answer under way."""

    job: Job
    draws: random.Random
    tokens: list[int] = field(default_factory=list)


class Engine:
    """Decodes jobs. `ended` tells from an answer's tokens whether the last of them ends it.

    `refill` lets new questions into a running batch; without it, a batch is answered to its end before the next.
    """

    def __init__(
        self, forward: Forward, transform: ImageTransform, ended: Callable[[Sequence[int]], bool], batch: int,
        *, refill: bool = True,
    ) -> None:
        self._forward, self._transform, self._ended = forward, transform, ended
        self._batch = batch
        self._worth = max(1, batch // REFILL_SHARE) if refill else batch

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, list[int]]]:
        """(number, tokens of the answer) as answers end; a token that is an end mark is among them."""
        waiting = deque(sorted(jobs, key=lambda job: -len(job.prompt)))
        rows: list[Row | None] = [None] * min(self._batch, len(waiting))
        slots = Slots(len(rows), self._forward.device, self._forward.llava.dtype)
        order = [image for job in waiting for image in job.images]
        with ImagesAhead(order, self._transform, self._forward.see, ahead=2 * self._batch) as images:
            while waiting or any(rows):
                free = [place for place, row in enumerate(rows) if row is None]
                if waiting and (len(free) >= self._worth or len(free) == len(rows)):
                    yield from self._admit(waiting, free, rows, slots, images)
                elif not waiting and 2 * len(free) >= len(rows):
                    rows = _shrunk(rows, slots)
                if any(rows):
                    yield from self._step(rows, slots)

    def _admit(
        self, waiting: deque[Job], free: Sequence[int], rows: list[Row | None], slots: Slots, images: ImagesAhead
    ) -> Iterator[tuple[int, list[int]]]:
        """Let as many in as there is room for, some at a time."""
        places = list(free)
        while waiting and places:
            several = max(1, min(len(places), PREFILL_TOKENS // len(waiting[0].prompt)))
            jobs = [waiting.popleft() for _ in range(min(several, len(waiting)))]
            taken, places = places[: len(jobs)], places[len(jobs) :]
            shown = images.features([image for job in jobs for image in job.images])
            kept, logits = self._forward.prefill([job.prompt for job in jobs], shown)
            slots.admit(taken, kept, [len(job.prompt) for job in jobs])
            for place, job in zip(taken, jobs, strict=True):
                rows[place] = Row(job, dice(job.sampling, job.prompt))
            yield from self._chosen(logits, taken, rows, slots)

    def _step(self, rows: list[Row | None], slots: Slots) -> Iterator[tuple[int, list[int]]]:
        tokens = [row.tokens[-1] if row else 0 for row in rows]
        logits = self._forward.step(tokens, slots)
        places = [place for place, row in enumerate(rows) if row is not None]
        if len(places) < len(rows):
            logits = logits[torch.tensor(places, device=logits.device)]
        yield from self._chosen(logits, places, rows, slots)

    def _chosen(
        self, logits: torch.Tensor, places: Sequence[int], rows: list[Row | None], slots: Slots
    ) -> Iterator[tuple[int, list[int]]]:
        """Give rows their next token, and let those that have ended go."""
        under_way = [row for place in places if (row := rows[place]) is not None]
        tokens = next_tokens(logits, [row.job.sampling for row in under_way], [row.draws for row in under_way])
        for place, row, token in zip(places, under_way, tokens, strict=True):
            row.tokens.append(token)
            if len(row.tokens) >= row.job.limit or self._ended(row.tokens):
                rows[place] = None
                yield row.job.number, row.tokens
        slots.alive([place for place, row in enumerate(rows) if row is not None])


def _shrunk(rows: list[Row | None], slots: Slots) -> list[Row | None]:
    """The rows under way alone."""
    places = [place for place, row in enumerate(rows) if row is not None]
    if places:
        slots.keep(places)
    return [rows[place] for place in places]
