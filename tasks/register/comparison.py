"""Two models on the same examples: the difference of their scores, and how sure it is. Pure.

A score is 100 * sum(points) / sum(of): accuracy where `of` is 1, LLaVA-Bench's relative score where it is what the
judge gave the reference. Examples are resampled in pairs, so that what makes an example hard cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tasks.register.evidence import Result

Floats = NDArray[np.float64]

DIGITS = 6
"""Where floating-point noise begins: a difference reads the same wherever it is printed."""
CELLS = 2_000_000
"""Resampled counts held at once: bounds the memory of a bootstrap, never changes its result."""


class Pair(NamedTuple):
    """One example, answered by both."""

    challenger: Result
    champion: Result


class Difference(NamedTuple):
    """Challenger minus champion, in percent points, and bounds on the truth."""

    value: float
    low: float
    """With confidence 1 - level the true difference is above it."""
    high: float
    """With confidence 1 - level the true difference is below it."""
    p_worse: float
    """How likely a difference this bad is if the truth is no worse than -margin: small shows a loss."""
    p_no_better: float
    """How likely a difference this good is if the truth is no gain at all: small shows a gain."""
    n: int


def difference(pairs: Sequence[Pair], *, margin: float, level: float, resamples: int, seed: int) -> Difference:
    """Paired bootstrap of the difference. Raises ValueError without pairs.

    Each bound is computed with one pseudo example that speaks against it, a loss for `low`, a gain for `high`. A plain
    percentile bootstrap is too sure of itself when few examples differ (three wins and no loss would show a gain at
    the 0.05 level, where the exact sign test says 0.125); with it, the level holds. Compare Agresti and Min (2005),
    who add to the counts of a paired table for the same reason.
    """
    if not pairs:
        raise ValueError("no examples in common")
    columns = np.array(
        [(ours.points, ours.of, theirs.points, theirs.of) for ours, theirs in pairs], dtype=np.float64
    )
    with_loss = _drawn(np.vstack([columns, _pseudo(columns, -1.0)]), resamples, seed)
    with_gain = _drawn(np.vstack([columns, _pseudo(columns, +1.0)]), resamples, seed)
    return Difference(
        value=round(float(_scores(columns.sum(axis=0, keepdims=True))[0]), DIGITS),
        low=round(float(np.quantile(with_loss, level)), DIGITS),
        high=round(float(np.quantile(with_gain, 1 - level)), DIGITS),
        p_worse=float((1 + np.count_nonzero(with_gain >= -margin)) / (1 + with_gain.size)),
        p_no_better=float((1 + np.count_nonzero(with_loss <= 0)) / (1 + with_loss.size)),
        n=len(pairs),
    )


def _pseudo(columns: Floats, sign: float) -> Floats:
    """An example of average standing on which the two differ as much as they do where they differ."""
    gaps = np.abs(columns[:, 0] - columns[:, 2])
    gap = gaps[gaps > 0].mean() if gaps.any() else columns[:, 3].mean()
    standing, of = columns[:, 2].mean(), columns[:, 3].mean()
    return np.array([standing + sign * gap, of, standing, of])


def _drawn(columns: Floats, resamples: int, seed: int) -> Floats:
    """The difference in every resample. One generator draws in a fixed order, so chunks do not show.

    Equal examples are drawn together: how often each kind comes up in a resample is multinomial. Right and wrong make
    four kinds, whatever the number of examples.
    """
    generator = np.random.default_rng(seed)
    kinds, counts = np.unique(columns, axis=0, return_counts=True)
    step = max(1, CELLS // len(kinds))
    parts = []
    for start in range(0, resamples, step):
        times = generator.multinomial(len(columns), counts / len(columns), min(step, resamples - start))
        parts.append(_scores(times @ kinds))
    return np.concatenate(parts)


def _scores(sums: Floats) -> Floats:
    """Difference of both scores from columns of sums. A score of nothing counts as 0."""
    first = np.divide(sums[:, 0], sums[:, 1], out=np.zeros(len(sums)), where=sums[:, 1] > 0)
    second = np.divide(sums[:, 2], sums[:, 3], out=np.zeros(len(sums)), where=sums[:, 3] > 0)
    found: Floats = 100 * (first - second)
    return found


def examples_to_find(gain: float, share_differing: float, level: float, power: float) -> int:
    """How many examples it takes to show a true gain (percent points) with the given power, at `level`, one-sided.

    `share_differing` is the share of examples on which the two models differ. The normal approximation of the paired
    comparison (Connor 1987), with the pseudo example of `difference` counted in: the root of
    n * gain - z * sqrt(n * variance) - 1 = 0. Raises ValueError unless the gain is above 0.
    """
    share = gain / 100
    if share <= 0:
        raise ValueError("the gain must be above 0")
    reach = NormalDist().inv_cdf(1 - level) + NormalDist().inv_cdf(power)
    spread = reach * math.sqrt(max(share_differing - share * share, 0.0))
    root = (spread + math.sqrt(spread * spread + 4 * share)) / (2 * share)
    return math.ceil(root * root)
