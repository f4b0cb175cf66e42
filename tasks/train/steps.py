"""What each rank does in each step: a pure function of the step, then the rows, read ahead by a thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from model.build import Assembled
from model.packed import Row, collate
from model.packing import spread
from model.tokenize import ConversationTokenizer
from tasks.errors import DataError
from tasks.train.mixture import Order, Sources
from tasks.train.survey import Survey

AHEAD = 2


@dataclass(frozen=True)
class StepPlan:
    """One step for one rank: `rows` of survey positions; totals are over all ranks."""

    step: int
    rows: list[list[int]]
    tokens: int
    supervised: int
    samples: int


@dataclass(frozen=True)
class Planner:
    """Plans steps. Nothing in it depends on time, on other ranks, or on steps before."""

    survey: Survey
    order: Order
    rank: int
    ranks: int
    row_tokens: int

    def plan(self, step: int) -> StepPlan:
        """The plan of a step for this rank."""
        taken = self.order.step(step)
        lengths = [int(self.survey.lengths[at]) for at in taken]
        rows = spread(lengths, self.ranks, self.row_tokens)[self.rank]
        return StepPlan(
            step=step,
            rows=[[taken[at] for at in row] for row in rows],
            tokens=sum(lengths),
            supervised=int(sum(self.survey.supervised[at] for at in taken)),
            samples=len(taken),
        )


    def lengths(self, plan: StepPlan) -> list[list[int]]:
        """Tokens of the samples in each row of a plan."""
        return [[int(self.survey.lengths[at]) for at in row] for row in plan.rows]


@dataclass(frozen=True)
class RowReader:
    """Makes the rows of a plan out of shards."""

    reader: Sources
    survey: Survey
    tokenizer: ConversationTokenizer
    assembled: Assembled
    max_length: int

    def keys_of(self, positions: list[int]) -> list[str]:
        """The samples at some positions of the survey, by name."""
        keys = self.reader.keys()
        return [keys[int(self.survey.numbers[at])] for at in positions]

    def rows(self, plan: StepPlan) -> list[Row]:
        """The rows of a plan, as tensors."""
        return [self._row(positions) for positions in plan.rows]

    def _row(self, positions: list[int]) -> Row:
        transform = self.assembled.transform()
        numbers = [int(self.survey.numbers[at]) for at in positions]
        samples = [self.tokenizer.encode(self.reader.sample(number), self.max_length) for number in numbers]
        images = [
            image
            for number, sample in zip(numbers, samples, strict=True)
            for image in self._shown(number, self.tokenizer.images_in(sample))
        ]
        pad = int(self.assembled.tokenizer.pad_token_id or 0)
        return collate(samples, [transform(image) for image in images], transform.dummy(), pad)


    def _shown(self, number: int, images: int) -> list[bytes]:
        """The images of a sample that are left of it: those of trailing turns that did not fit are gone with them."""
        found = self.reader.images(number)
        if len(found) < images:
            raise DataError(
                f"sample {self.reader.keys()[number]} speaks of {images} images and its shard holds {len(found)}; make "
                "the shards anew"
            )
        return found[:images]


def read_ahead(
    first: int, last: int, plan: Callable[[int], StepPlan], read: Callable[[StepPlan], list[Row]]
) -> Iterator[tuple[StepPlan, list[Row]]]:
    """Plans and rows of steps `first` .. `last` - 1, prepared by a thread a few steps ahead.

    What goes wrong in the thread is raised here.
    """
    ready: queue.Queue[tuple[StepPlan, list[Row]] | BaseException] = queue.Queue(maxsize=AHEAD)
    stop = threading.Event()

    def hand_over(item: tuple[StepPlan, list[Row]] | BaseException) -> None:
        """Wait for room, but not for a reader who has left."""
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.2)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for step in range(first, last):
                planned = plan(step)
                hand_over((planned, read(planned)))
                if stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 (raised again in the reading thread)
            hand_over(error)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join(timeout=5)
