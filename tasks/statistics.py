"""How sure a figure is: intervals, paired comparisons, and how many examples a claim takes. Shares lie in 0..1.

Everything is a pure function of its arguments; what draws at random takes a seed. The gate, the benchmarks and the
`score` and `compare` commands all use these, so that one figure never carries two different intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHUNK = 4_000_000
"""Random indices drawn at once: bounds the memory of a bootstrap (about 32 MB), never changes its result."""


class Interval(NamedTuple):
    """A confidence interval, both ends included."""

    low: float
    high: float


def bootstrap_mean(
    values: Sequence[float], *, resamples: int = 2000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Percentile interval of a mean. Raises ValueError without values."""
    sample = _filled(values)
    return _percentiles(_resampled(sample.size, resamples, seed, lambda rows: sample[rows].mean(axis=1)), confidence)


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of sum(numerators) / sum(denominators), drawn in pairs.

    This is the interval of LLaVA-Bench's relative score, which is a ratio of sums and no mean of ratios.
    Raises ValueError if the lengths differ, nothing is given, or a denominator is negative or all are 0.
    """
    top, bottom = _pair(numerators, denominators)
    drawn = _resampled(top.size, resamples, seed, lambda rows: _ratio(top, bottom, rows))
    return _percentiles(drawn[~np.isnan(drawn)], confidence)


def bootstrap_mean_ratio(
    runs: Sequence[tuple[Sequence[float], Sequence[float]]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over runs of sum(numerators) / sum(denominators), examples drawn together.

    Every run holds the same examples in the same order; one that a run lacks is 0 over 0 there. One run gives the
    interval of `bootstrap_ratio`. Raises ValueError as that does, and if the runs differ in length.
    """
    pairs = [_pair(top, bottom) for top, bottom in runs]
    if not pairs or len({top.size for top, _ in pairs}) > 1:
        raise ValueError("runs of one length are needed")

    def mean(rows: NDArray[np.int64]) -> Floats:
        over_runs: Floats = np.mean([_ratio(top, bottom, rows) for top, bottom in pairs], axis=0)
        return over_runs

    drawn = _resampled(pairs[0][0].size, resamples, seed, mean)
    return _percentiles(drawn[~np.isnan(drawn)], confidence)


def bootstrap_statistic(
    size: int, statistic: Callable[[NDArray[np.int64]], Floats], *, resamples: int = 2000, confidence: float = 0.95,
    seed: int = 0,
) -> Interval | None:
    """Percentile interval of any figure of `size` examples; None where hardly a resample has the figure.

    `statistic` takes the indices of resamples, of shape (resamples, size), and gives one value each, NaN where a
    resample does not have it (precision without a positive answer).
    """
    drawn = _resampled(size, resamples, seed, statistic)
    known = drawn[~np.isnan(drawn)]
    return _percentiles(known, confidence) if known.size >= resamples / 2 else None


def paired_difference(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile interval of first minus second, each sum(points) / sum(of), the same examples drawn for both.

    With `of` 1 throughout this is the difference of two accuracies. Raises ValueError as `bootstrap_ratio` does.
    """
    (top, bottom), (other_top, other_bottom) = _pair(*first), _pair(*second)
    if top.size != other_top.size:
        raise ValueError(f"paired values need one length, got {top.size} and {other_top.size}")
    drawn = _resampled(
        top.size, resamples, seed,
        lambda rows: _ratio(top, bottom, rows) - _ratio(other_top, other_bottom, rows),
    )
    return _percentiles(drawn[~np.isnan(drawn)], confidence)


def paired_p_value(differences: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p-value of a mean of paired differences being 0, by random changes of their signs.

    The permutation test of paired samples; with the observed signs counted in, it is never 0. Raises ValueError
    without differences.
    """
    sample = _filled(differences)
    observed = abs(sample.sum())
    if observed == 0:
        return 1.0
    generator = np.random.default_rng(seed)
    reached = sum(
        int(np.count_nonzero(np.abs(generator.choice((-1.0, 1.0), (rows, sample.size)) @ sample) >= observed - 1e-12))
        for rows in _chunks(resamples, sample.size)
    )
    return (1 + reached) / (1 + resamples)


def exact_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Clopper-Pearson interval of a share: covers at least as often as it says, however small the sample.

    Found by bisection on the binomial tails. Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    _check_counts(successes, n)
    tail = (1 - confidence) / 2
    log_ways = _log_binomials(n)
    low = 0.0 if successes == 0 else _bisect(lambda p: _upper_tail(log_ways, successes, p) < tail)
    high = 1.0 if successes == n else _bisect(lambda p: _lower_tail(log_ways, successes, p) > tail)
    return Interval(low, high)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share: shorter than the exact one, right on average.

    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    _check_counts(successes, n)
    z, share = _z(confidence), successes / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At the ends the formula meets 0 and 1 up to rounding; a share never leaves them.
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def paired_lower_bound(
    challenger: Sequence[float], champion: Sequence[float], *, level: float = 0.05, resamples: int = 2000, seed: int = 0
) -> float:
    """One-sided lower bound of mean(challenger - champion) over the same examples, by paired bootstrap.

    With confidence 1 - level the true difference is above it. Raises ValueError if the lengths differ or are 0.
    """
    first, second = _filled(challenger), _filled(champion)
    if first.size != second.size:
        raise ValueError(f"paired values need one length, got {first.size} and {second.size}")
    difference = first - second
    drawn = _resampled(difference.size, resamples, seed, lambda rows: difference[rows].mean(axis=1))
    return float(np.quantile(drawn, level))


def mcnemar_exact(first_only: int, second_only: int) -> float:
    """Two-sided exact p-value of McNemar's test.

    `first_only` examples only the first model has right, `second_only` only the second; those on which both agree
    carry no information. Without discordant examples the p-value is 1.
    """
    if min(first_only, second_only) < 0:
        raise ValueError("counts cannot be negative")
    discordant = first_only + second_only
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * _lower_tail(_log_binomials(discordant), min(first_only, second_only), 0.5))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm-adjusted p-values of a family of tests (categories of one comparison), in the order given."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that bound the share of false discoveries, in the order given; less strict than `holm`.

    Benjamini and Hochberg (1995), for independent or positively dependent tests.
    """
    order = sorted(range(len(p_values)), key=lambda index: -p_values[index])
    adjusted, lowest = [0.0] * len(p_values), 1.0
    for passed, index in enumerate(order):
        lowest = min(lowest, p_values[index] * len(p_values) / (len(p_values) - passed))
        adjusted[index] = lowest
    return adjusted


def examples_needed(
    share: float,
    difference: float = 0.01,
    *,
    discordant: float | None = None,
    confidence: float = 0.95,
    power: float = 0.8,
) -> int:
    """How many examples it takes to see a difference between two accuracies near `share`.

    Two models on separate samples by default; with `discordant`, the share of examples on which exactly one of both
    is right, two models on the same examples (McNemar), which takes far fewer. Normal approximation, two-sided test.
    """
    if difference <= 0:
        raise ValueError("the difference must be above 0")
    spread = 2 * share * (1 - share) if discordant is None else discordant - difference * difference
    reach = _z(confidence) + NormalDist().inv_cdf(power)
    return max(1, math.ceil(reach * reach * max(spread, 0.0) / (difference * difference)))


def examples_needed_ratio(
    numerators: Sequence[float], denominators: Sequence[float], difference: float = 0.01, *, confidence: float = 0.95,
    power: float = 0.8,
) -> int:
    """How many examples it takes to see a difference between two ratios of sums that spread as this one does.

    For LLaVA-Bench's relative score. Two models on separate samples, normal approximation, the variance of a ratio
    by linearisation: that of (numerator - ratio * denominator) / mean denominator. Raises ValueError as
    `bootstrap_ratio` does.
    """
    if difference <= 0:
        raise ValueError("the difference must be above 0")
    top, bottom = _pair(numerators, denominators)
    residuals = (top - top.sum() / bottom.sum() * bottom) / bottom.mean()
    reach = _z(confidence) + NormalDist().inv_cdf(power)
    return max(1, math.ceil(2 * reach * reach * float(residuals.var()) / (difference * difference)))


def _pair(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[Floats, Floats]:
    top, bottom = _filled(numerators), _filled(denominators)
    if top.size != bottom.size:
        raise ValueError(f"{top.size} numerators but {bottom.size} denominators")
    if bottom.min() < 0 or bottom.sum() == 0:
        raise ValueError("denominators must not be negative, and not all 0")
    return top, bottom


def _ratio(top: Floats, bottom: Floats, rows: NDArray[np.int64]) -> Floats:
    """The ratio of every resample; NaN for one of zero denominators only, which says nothing about the ratio."""
    below: Floats = bottom[rows].sum(axis=1)
    above: Floats = top[rows].sum(axis=1)
    shares: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return shares


def _filled(values: Sequence[float]) -> Floats:
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("nothing to resample: no values")
    return sample


def _resampled(
    size: int, resamples: int, seed: int, statistic: Callable[[NDArray[np.int64]], Floats]
) -> Floats:
    """The statistic of every resample. One generator draws in a fixed order, so chunks do not show."""
    generator = np.random.default_rng(seed)
    parts = [statistic(generator.integers(0, size, (rows, size))) for rows in _chunks(resamples, size)]
    return np.concatenate(parts)


def _chunks(resamples: int, size: int) -> Iterator[int]:
    step = max(1, CHUNK // size)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def _percentiles(drawn: Floats, confidence: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def _check_counts(successes: int, n: int) -> None:
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n} is no share")


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _log_binomials(n: int) -> Floats:
    """log of "n choose k" for k = 0..n."""
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    ways: Floats = log_factorials[n] - log_factorials - log_factorials[::-1]
    return ways


def _tail(log_ways: Floats, counts: NDArray[np.int64], p: float) -> float:
    n = log_ways.size - 1
    return float(np.exp(log_ways[counts] + counts * math.log(p) + (n - counts) * math.log1p(-p)).sum())


def _upper_tail(log_ways: Floats, k: int, p: float) -> float:
    return _tail(log_ways, np.arange(k, log_ways.size, dtype=np.int64), p)


def _lower_tail(log_ways: Floats, k: int, p: float) -> float:
    return _tail(log_ways, np.arange(0, k + 1, dtype=np.int64), p)


def _bisect(go_up: Callable[[float], bool]) -> float:
    """The share at which a monotone condition turns from true to false, to double precision."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if go_up(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2
