"""Which samples a step takes: a pure function of the seed, the number of samples and the step."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Permutation = NDArray[np.int64]
"""Eight bytes a sample: that of 100 million samples takes 0.8 GB (docs/scale.md)."""


def epoch_order(seed: int, epoch: int, samples: int) -> Permutation:
    """A permutation of `range(samples)`."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(samples)


class StepOrder:
    """Sample positions of each step. Step s takes samples s*batch .. (s+1)*batch of the endless row of epochs.

    So the whole data state of a loop is its step number: any worker, on any number of workers, at any time, finds the
    same samples for the same step.
    """

    def __init__(self, seed: int, samples: int, batch: int) -> None:
        if samples < batch:
            raise ValueError(f"{samples} samples are fewer than the {batch} of one step")
        self.seed, self.samples, self.batch = seed, samples, batch
        self._epochs: dict[int, Permutation] = {}

    def step(self, step: int) -> list[int]:
        """Positions of the samples of a step, in order; a step across an epoch's end takes from both."""
        first = step * self.batch
        return [self._at(position) for position in range(first, first + self.batch)]

    def _at(self, position: int) -> int:
        epoch, within = divmod(position, self.samples)
        if epoch not in self._epochs:
            self._epochs = {at: order for at, order in self._epochs.items() if at >= epoch - 1}
            self._epochs[epoch] = epoch_order(self.seed, epoch, self.samples)
        return int(self._epochs[epoch][within])


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in the proportion of some weights that sum to `total` (largest remainders; earlier ones first)."""
    whole = sum(weights)
    exact = [weight * total / whole for weight in weights]
    found = [int(share) for share in exact]
    by_rest = sorted(range(len(weights)), key=lambda at: (found[at] - exact[at], at))
    for at in by_rest[: total - sum(found)]:
        found[at] += 1
    return found


class MixtureOrder:
    """`StepOrder` over several sources, whose samples stand one behind the other: `sizes` of them each.

    An epoch takes exactly `counts` of them each, in an order drawn for that epoch. A source goes on in the next epoch
    where it stopped in this one, so each of its samples is taken as often as the others, give or take once.
    """

    def __init__(self, seed: int, sizes: Sequence[int], counts: Sequence[int], batch: int) -> None:
        if not all(sizes) or not sum(counts):
            raise ValueError(f"sources of {list(sizes)} samples cannot give {list(counts)} an epoch")
        self.seed, self.sizes, self.counts, self.batch = seed, [*sizes], [*counts], batch
        self.samples = sum(counts)
        self._starts = [0, *accumulate(sizes)]
        self._bounds = [*accumulate(counts)]
        self._drawn: dict[tuple[int, ...], Permutation] = {}

    def step(self, step: int) -> list[int]:
        """Positions of the samples of a step, in order; a step across an epoch's end takes from both."""
        first = step * self.batch
        return [self._at(position) for position in range(first, first + self.batch)]

    def taken(self, steps: int) -> list[int]:
        """How many samples of each source the first so many steps take."""
        epochs, rest = divmod(steps * self.batch, self.samples)
        found = [epochs * count for count in self.counts]
        if rest:
            slots = self._order((epochs,), self.samples)[:rest]
            sources = np.searchsorted(self._bounds, slots, side="right")
            more = np.bincount(sources, minlength=len(found))
            found = [had + int(count) for had, count in zip(found, more, strict=True)]
        return found

    def _at(self, position: int) -> int:
        epoch, within = divmod(position, self.samples)
        slot = int(self._order((epoch,), self.samples)[within])
        source = bisect_right(self._bounds, slot)
        number = epoch * self.counts[source] + slot - (self._bounds[source] - self.counts[source])
        round_, place = divmod(number, self.sizes[source])
        return self._starts[source] + int(self._order((round_, source), self.sizes[source])[place])

    def _order(self, drawn_for: tuple[int, ...], samples: int) -> Permutation:
        """An epoch's order, or (round, source) that of a source. A few are kept of each: the next are drawn soon."""
        if drawn_for not in self._drawn:
            self._drawn = {
                key: order for key, order in self._drawn.items()
                if key[1:] != drawn_for[1:] or key[0] >= drawn_for[0] - 1 - self._rounds(drawn_for)
            }
            generator = np.random.Generator(np.random.PCG64([self.seed, *drawn_for]))
            self._drawn[drawn_for] = generator.permutation(samples)
        return self._drawn[drawn_for]

    def _rounds(self, drawn_for: tuple[int, ...]) -> int:
        """Rounds of a source that one epoch may reach into, whose order is looked up in no order at all."""
        return 0 if len(drawn_for) == 1 else -(-self.counts[drawn_for[1]] // self.sizes[drawn_for[1]])
