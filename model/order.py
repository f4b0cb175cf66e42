"""Which samples a step takes: a pure function of the seed, the number of samples and the step."""

from __future__ import annotations

import numpy as np


def epoch_order(seed: int, epoch: int, samples: int) -> list[int]:
    """A permutation of `range(samples)`."""
    return [int(at) for at in np.random.Generator(np.random.PCG64([seed, epoch])).permutation(samples)]


class StepOrder:
    """Sample positions of each step. Step s takes samples s*batch .. (s+1)*batch of the endless row of epochs.

    So the whole data state of a loop is its step number: any worker, on any number of workers, at any time, finds the
    same samples for the same step.
    """

    def __init__(self, seed: int, samples: int, batch: int) -> None:
        if samples < batch:
            raise ValueError(f"{samples} samples are fewer than the {batch} of one step")
        self.seed, self.samples, self.batch = seed, samples, batch
        self._epochs: dict[int, list[int]] = {}

    def step(self, step: int) -> list[int]:
        """Positions of the samples of a step, in order; a step across an epoch's end takes from both."""
        first = step * self.batch
        return [self._at(position) for position in range(first, first + self.batch)]

    def _at(self, position: int) -> int:
        epoch, within = divmod(position, self.samples)
        if epoch not in self._epochs:
            self._epochs = {at: order for at, order in self._epochs.items() if at >= epoch - 1}
            self._epochs[epoch] = epoch_order(self.seed, epoch, self.samples)
        return self._epochs[epoch][within]
