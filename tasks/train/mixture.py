"""The samples of one or several shard sets as one row, and how much of each an epoch takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.schema import MixtureSource
from model.order import MixtureOrder, StepOrder, shares
from model.records import Sample
from tasks.errors import DataError
from tasks.shards import ShardReader
from tasks.spans import Spans

Order = StepOrder | MixtureOrder


class Sources:
    """The samples of a stage in shard sets, by number: those of the first set first. A `ShardReader` over all of them.

    `folders` by name; where there are several, a sample's key has its set's name in front.
    """

    def __init__(self, folders: Mapping[str, Path | Spans], stage: str) -> None:
        self.names = [*folders]
        self._readers = [ShardReader(folder, stage) for folder in folders.values()]
        self._ends = [*accumulate(len(reader) for reader in self._readers)]

    def __len__(self) -> int:
        return self._ends[-1]

    def __enter__(self) -> Sources:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the shards that are open."""
        for reader in self._readers:
            reader.close()

    def keys(self) -> list[str]:
        """Keys of the samples, in the order of their numbers."""
        if len(self._readers) == 1:
            return self._readers[0].keys()
        told = [reader.keys() for reader in self._readers]
        return [f"{name}/{key}" for name, keys in zip(self.names, told, strict=True) for key in keys]

    def sample(self, number: int) -> Sample:
        """The sample of a number. Raises as `ShardReader.sample` does."""
        reader, at = self._place(number)
        return reader.sample(at)

    def images(self, number: int) -> list[bytes]:
        """The encoded images of a sample. Raises as `ShardReader.images` does."""
        reader, at = self._place(number)
        return reader.images(at)

    def usable(self, numbers: npt.NDArray[np.int64]) -> list[int]:
        """How many of some samples each set holds."""
        sources = np.searchsorted(np.array(self._ends), numbers, side="right")
        return [int(number) for number in np.bincount(sources, minlength=len(self._ends))]

    def _place(self, number: int) -> tuple[ShardReader, int]:
        source = bisect_right(self._ends, number)
        return self._readers[source], number - (self._ends[source - 1] if source else 0)


def folders_of(
    mixture: Sequence[MixtureSource], own: Path | Spans, others: Mapping[str, Path | Spans]
) -> dict[str, Path | Spans]:
    """A stage's shard sets in the mixture's order; without a mixture its own, nameless."""
    if not mixture:
        return {"": own}
    return {source.name: own if source.shards is None else others[source.name] for source in mixture}


def counts_of(mixture: Sequence[MixtureSource], usable: Sequence[int]) -> list[int]:
    """How many samples of each source an epoch takes; `usable` is how many each has.

    Raises DataError for a source without a usable sample, or of which an epoch would take none.
    """
    for source, number in zip(mixture, usable, strict=True):
        if not number:
            raise DataError(
                f"source {source.name} of the mixture has no usable sample for this stage; leave it out, or see why in "
                "the list of its samples"
            )
    weights = [source.weight for source in mixture if source.weight is not None]
    if weights:
        counts = shares(weights, sum(usable))
    else:
        counts = [
            source.samples or round((source.epochs or 0) * number)
            for source, number in zip(mixture, usable, strict=True)
        ]
    for source, count in zip(mixture, counts, strict=True):
        if not count:
            raise DataError(f"an epoch would take no sample of source {source.name}; raise its weight or its epochs")
    return counts


def order_of(seed: int, mixture: Sequence[MixtureSource], usable: Sequence[int], batch: int) -> Order:
    """Which samples a step takes."""
    if not mixture:
        return StepOrder(seed, sum(usable), batch)
    return MixtureOrder(seed, usable, counts_of(mixture, usable), batch)


def told_of(
    mixture: Sequence[MixtureSource], usable: Sequence[int], order: Order, steps: int
) -> dict[str, dict[str, int]]:
    """By source: samples that are usable, that an epoch takes, and that the whole stage takes. Empty without one."""
    if not isinstance(order, MixtureOrder):
        return {}
    rows = zip(mixture, usable, order.counts, order.taken(steps), strict=True)
    return {source.name: {"usable": one, "an_epoch": two, "taken": three} for source, one, two, three in rows}
