"""The running batch of a server: questions come at any time, join between two steps, and can be called off.

What `engine.Engine` is for a list that is known beforehand, this is for one that never ends. The passes and the slots
are the same, so an answer is the one that an evaluation would give.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from model.decode.choose import dice, next_tokens
from model.decode.engine import PREFILL_TOKENS
from model.decode.forward import Forward
from model.decode.slots import Slots
from model.sampling import Sampling

FEATURE_BYTES = 256_000_000
"""What the features of images that were looked at take at most: a conversation shows its image again each turn."""


@dataclass(frozen=True)
class Picture:
    """An image of a prompt: its digest, and its pixels [3, size, size]."""

    digest: str
    pixels: Tensor


@dataclass(frozen=True)
class LiveJob:
    """A prompt in ids with its images in order; `limit` bounds the answer in tokens."""

    name: str
    prompt: tuple[int, ...]
    pictures: tuple[Picture, ...]
    limit: int
    sampling: Sampling


@dataclass
class _Row:
    job: LiveJob
    draws: random.Random
    tokens: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """One more token of an answer. `last`: the model ended it, or its bound is reached."""

    name: str
    token: int
    ended: bool
    """The token is an end mark."""
    last: bool


class LiveBatch:
    """Decodes what it is given, at most `batch` answers at a time, in the order of arrival.

    `ends` are the tokens that end an answer.
    """

    def __init__(self, forward: Forward, ends: frozenset[int], batch: int) -> None:
        self._forward, self._ends, self._batch = forward, ends, batch
        self._waiting: deque[LiveJob] = deque()
        self._rows: list[_Row | None] = []
        self._slots: Slots | None = None
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def longest(self) -> int:
        """Longest prompt and answer together, in tokens."""
        return self._forward.longest

    @property
    def waiting(self) -> int:
        """How many are not in the batch yet."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Nothing is under way and nothing waits."""
        return not self._waiting and not any(self._rows)

    def add(self, job: LiveJob) -> None:
        """Take a question; it joins at the next step that has a place."""
        self._waiting.append(job)

    def drop(self, name: str) -> None:
        """Call a question off: its place is free at once. One that has ended already is no error."""
        self._waiting = deque(job for job in self._waiting if job.name != name)
        for place, row in enumerate(self._rows):
            if row is not None and row.job.name == name:
                self._rows[place] = None
                self._tell_alive()

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """Let in who waits while there is room, then one more token of every answer under way."""
        told = list(self._admit())
        if any(self._rows):
            told += self._advance()
        self._shrink()
        return told

    def _admit(self) -> Iterator[Token]:
        """One pass over prompts: those that wait, as many as there is room for. The others join a step later, so that
        answers under way never pause for more than one such pass."""
        free = self._batch - sum(row is not None for row in self._rows)
        jobs: list[LiveJob] = []
        while self._waiting and len(jobs) < free:
            width = max(len(job.prompt) for job in [*jobs, self._waiting[0]])
            if jobs and width * (len(jobs) + 1) > PREFILL_TOKENS:
                break
            jobs.append(self._waiting.popleft())
        if jobs:
            yield from self._let_in(jobs)

    def _let_in(self, jobs: Sequence[LiveJob]) -> Iterator[Token]:
        places = self._places(len(jobs))
        slots = self._slots
        assert slots is not None, "places are places in slots"
        features = self._seen([picture for job in jobs for picture in job.pictures])
        kept, logits = self._forward.prefill([job.prompt for job in jobs], features)
        lengths = [len(job.prompt) for job in jobs]
        slots.admit(places, kept, lengths)
        for place, job in zip(places, jobs, strict=True):
            self._rows[place] = _Row(job, dice(job.sampling, job.prompt))
        yield from self._chosen(logits, places)

    def _places(self, count: int) -> list[int]:
        """Free rows, new ones where there are too few."""
        if self._slots is None:
            self._slots = Slots(0, self._forward.device, self._forward.llava.dtype)
        free = [place for place, row in enumerate(self._rows) if row is None]
        if len(free) < count:
            rows = len(self._rows) + count - len(free)
            self._slots.widen(rows)
            free += range(len(self._rows), rows)
            self._rows += [None] * (rows - len(self._rows))
        return free[:count]

    def _advance(self) -> list[Token]:
        assert self._slots is not None, "rows are rows of slots"
        logits = self._forward.step([row.tokens[-1] if row else 0 for row in self._rows], self._slots)
        places = [place for place, row in enumerate(self._rows) if row is not None]
        if len(places) < len(self._rows):
            logits = logits[torch.tensor(places, device=logits.device)]
        return list(self._chosen(logits, places))

    def _chosen(self, logits: Tensor, places: Sequence[int]) -> Iterator[Token]:
        under_way = [row for place in places if (row := self._rows[place]) is not None]
        tokens = next_tokens(logits, [row.job.sampling for row in under_way], [row.draws for row in under_way])
        for place, row, token in zip(places, under_way, tokens, strict=True):
            row.tokens.append(token)
            ended = token in self._ends
            last = ended or len(row.tokens) >= row.job.limit
            if last:
                self._rows[place] = None
            yield Token(row.job.name, token, ended, last)
        self._tell_alive()

    def _tell_alive(self) -> None:
        if self._slots is not None:
            self._slots.alive([place for place, row in enumerate(self._rows) if row is not None])

    def _shrink(self) -> None:
        """Without empty rows a step is faster; the last to leave takes keys and values with it."""
        places = [place for place, row in enumerate(self._rows) if row is not None]
        if not places:
            self._rows, self._slots = [], None
        elif 2 * len(places) <= len(self._rows) and self._slots is not None:
            self._slots.keep(places)
            self._rows = [self._rows[place] for place in places]

    def _seen(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """The features of images, each looked at once."""
        new = {picture.digest: picture.pixels for picture in pictures if picture.digest not in self._features}
        if new:
            seen = self._forward.see(torch.stack(list(new.values())))
            self._features.update(zip(new, seen, strict=True))
        found = [self._features[picture.digest] for picture in pictures]
        for picture in pictures:
            self._features.move_to_end(picture.digest)
        held = sum(feature.nbytes for feature in self._features.values())
        while held > FEATURE_BYTES and self._features:
            held -= self._features.popitem(last=False)[1].nbytes
        return found


def keep_ends(named: int | Sequence[int] | None, eos: int | None) -> frozenset[int]:
    """The tokens that end an answer, as a generation configuration names them, or the tokenizer's own."""
    told = eos if named is None else named
    return frozenset() if told is None else frozenset([told] if isinstance(told, int) else told)


