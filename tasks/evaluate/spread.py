"""Questions spread over Ray workers, each with the checkpoint open: the answers of one worker, only sooner.

Questions go out in chunks, in their order, to whichever worker is free. An answer depends on its question alone, so
neither the number of workers nor who answers what is seen in it (docs/decisions/0016-evaluation-on-ray.md).
Checkpoint and images are read by path: on several machines both have to lie where all of them see them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

from tasks.errors import ConfigError
from tasks.evaluate.answers import Answerer, Likely, Prompt, Scorer
from tasks.evaluate.kept import KeptLikelihood

CHUNKS = 4
"""Chunks a worker, so that one with long answers does not keep the others waiting at the end."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Workers:
    """How many answer, and what each takes of the cluster. `connect` starts or joins it."""

    count: int
    gpus: int
    connect: Callable[[], None]


class SpreadAnswerer:
    """An `Answerer` and `Scorer` on several workers; `open_one` opens the model on one of them."""

    def __init__(self, open_one: Callable[[], Answerer], workers: Workers) -> None:
        self._open_one, self._workers = open_one, workers

    def answer(self, prompts: Sequence[Prompt], batch: int) -> Iterator[tuple[int, str]]:
        """See `Answerer`; `batch` is for each worker."""
        parts = chunks(len(prompts), self._workers.count, batch)
        asked = ((part, (_taken(prompts, part), batch)) for part in parts)
        for part, found in self._done("answer", asked):
            yield from ((part[number], text) for number, text in found)

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> Iterator[tuple[int, Sequence[Likely]]]:
        """See `Scorer`. Raises ConfigError where the model cannot score."""
        parts = chunks(len(prompts), self._workers.count, batch)
        asked = ((part, (_taken(prompts, part), _taken(answers, part), batch)) for part in parts)
        for part, found in self._done("likelihoods", asked):
            yield from ((part[number], [KeptLikelihood(*pair) for pair in pairs]) for number, pairs in found)

    @cached_property
    def _members(self) -> list[Any]:
        """The workers, started when there is something to ask, and once. They end with the cluster or the run."""
        import ray

        self._workers.connect()
        remote = ray.remote(num_cpus=1, num_gpus=self._workers.gpus)(_Member)
        return [remote.remote(self._open_one) for _ in range(self._workers.count)]

    def _done(self, what: str, asked: Iterator[tuple[range, tuple[Any, ...]]]) -> Iterator[tuple[range, Any]]:
        """The results of chunks as they come, a chunk a worker under way."""
        free: list[Any] | None = None
        under_way: dict[Any, tuple[range, Any]] = {}
        for part, arguments in asked:
            free = list(self._members) if free is None else free
            if not free:
                yield from self._landed(under_way, free)
            member = free.pop(0)
            under_way[getattr(member, what).remote(*arguments)] = part, member
        while under_way:
            yield from self._landed(under_way, free or [])

    def _landed(self, under_way: dict[Any, tuple[range, Any]], free: list[Any]) -> Iterator[tuple[range, Any]]:
        import ray
        from ray.exceptions import RayTaskError

        (done,), _ = ray.wait(list(under_way), num_returns=1)
        part, member = under_way.pop(done)
        free.append(member)
        try:
            found = ray.get(done)
        except RayTaskError as error:
            # The worker's own error: its line is for the user, the trace around it is Ray's.
            raise error.cause from error
        yield part, found


class _Member:
    """What runs on a worker."""

    def __init__(self, open_one: Callable[[], Answerer]) -> None:
        self._answerer = open_one()

    def answer(self, prompts: Sequence[Prompt], batch: int) -> list[tuple[int, str]]:
        return list(self._answerer.answer(prompts, batch))

    def likelihoods(
        self, prompts: Sequence[Prompt], answers: Sequence[Sequence[str]], batch: int
    ) -> list[tuple[int, list[tuple[float, int]]]]:
        scorer = self._answerer
        if not isinstance(scorer, Scorer):
            raise ConfigError("this model cannot score given answers; set evaluate.scienceqa.answering=generate")
        return [
            (number, [(one.log_probability, one.tokens) for one in found])
            for number, found in scorer.likelihoods(prompts, answers, batch)
        ]


def chunks(count: int, workers: int, batch: int) -> list[range]:
    """Positions 0 .. count - 1 in neighbouring parts: some for every worker, none smaller than a batch needs."""
    if not count:
        return []
    size = max(min(batch, -(-count // workers)), -(-count // (workers * CHUNKS)))
    return [range(at, min(at + size, count)) for at in range(0, count, size)]


def _taken(items: Sequence[Item], part: range) -> Sequence[Item]:
    return [items[position] for position in part]
