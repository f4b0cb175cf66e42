"""Intervals and tests agree with published values, with the definition, and with themselves under a seed."""

from __future__ import annotations

import random
from math import comb

import pytest

import tasks.statistics as statistics
from tasks.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_ratio,
    exact_interval,
    examples_needed,
    holm,
    mcnemar_exact,
    paired_lower_bound,
    wilson_interval,
)

# Computed with scipy.stats.binomtest(k, n).proportion_ci(0.95, method), 1.17.1.
EXACT = {
    (0, 10): (0.0, 0.3084971078187608),
    (3, 10): (0.06673951117773447, 0.652452850059999),
    (10, 10): (0.6915028921812371, 1.0),
    (299, 600): (0.4575854743976845, 0.5390976711871412),
    (3856, 4241): (0.9001707149840282, 0.9176999458678849),
}


@pytest.mark.parametrize("counts", EXACT)
def test_exact_interval_is_that_of_clopper_and_pearson(counts: tuple[int, int]) -> None:
    assert exact_interval(*counts) == pytest.approx(EXACT[counts], abs=1e-9)


@pytest.mark.parametrize(("successes", "n"), [(1, 7), (4, 9), (30, 40)])
def test_exact_interval_leaves_half_of_alpha_in_each_tail(successes: int, n: int) -> None:
    low, high = exact_interval(successes, n, 0.9)
    above = sum(comb(n, k) * low**k * (1 - low) ** (n - k) for k in range(successes, n + 1))
    below = sum(comb(n, k) * high**k * (1 - high) ** (n - k) for k in range(successes + 1))
    assert (above, below) == pytest.approx((0.05, 0.05), abs=1e-9)


def test_wilson_interval_matches_a_textbook_value_and_stays_within_0_and_1() -> None:
    assert wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson_interval(0, 5).low == 0.0
    assert wilson_interval(5, 5).high == 1.0


def test_wilson_lies_within_the_exact_interval() -> None:
    for successes in range(1, 20):
        exact, wilson = exact_interval(successes, 20), wilson_interval(successes, 20)
        assert exact.low < wilson.low < successes / 20 < wilson.high < exact.high


@pytest.mark.parametrize("interval", [exact_interval, wilson_interval])
@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(interval: object, successes: int, n: int) -> None:
    assert callable(interval)
    with pytest.raises(ValueError, match="no share"):
        interval(successes, n)


def test_bootstrap_of_a_mean_contains_it_and_narrows_with_more_examples() -> None:
    generator = random.Random(0)
    values = [generator.random() for _ in range(400)]
    few, many = bootstrap_mean(values[:40], seed=1), bootstrap_mean(values, seed=1)
    assert many.low < sum(values) / len(values) < many.high
    assert many.high - many.low < (few.high - few.low) / 2


def test_bootstrap_agrees_with_the_normal_interval_where_that_holds() -> None:
    values = [1.0] * 800 + [0.0] * 200
    half = 1.96 * (0.8 * 0.2 / 1000) ** 0.5
    assert bootstrap_mean(values, resamples=4000, seed=3) == pytest.approx((0.8 - half, 0.8 + half), abs=0.002)


def test_a_seed_fixes_the_bootstrap_and_memory_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [float(number % 7) for number in range(101)]
    whole = bootstrap_mean(values, seed=5)
    assert bootstrap_mean(values, seed=5) == whole
    assert bootstrap_mean(values, seed=6) != whole
    monkeypatch.setattr(statistics, "CHUNK", 101 * 3)
    assert bootstrap_mean(values, seed=5) == whole


def test_bootstrap_of_a_ratio_is_one_of_sums_drawn_in_pairs() -> None:
    reference = [1.0, 10.0, 5.0, 8.0]
    model = [0.5 * value for value in reference]
    # Every resample of proportional pairs has the same ratio; drawn apart, or as a mean of ratios with noise, not.
    assert bootstrap_ratio(model, reference) == pytest.approx((0.5, 0.5))


def test_bootstrap_of_a_ratio_survives_zero_denominators_and_refuses_nonsense() -> None:
    low, high = bootstrap_ratio([1.0, 2.0, 0.0], [2.0, 4.0, 0.0], seed=2)
    assert (low, high) == pytest.approx((0.5, 0.5))
    with pytest.raises(ValueError, match="no values"):
        bootstrap_ratio([], [])
    with pytest.raises(ValueError, match="1 numerators but 2 denominators"):
        bootstrap_ratio([1.0], [1.0, 2.0])
    for denominators in ([0.0, 0.0], [2.0, -1.0]):
        with pytest.raises(ValueError, match="not be negative, and not all 0"):
            bootstrap_ratio([1.0, 1.0], denominators)


def test_paired_bound_uses_the_pairing() -> None:
    champion = [float(number % 2) for number in range(200)]
    better = [1.0 if number < 10 else value for number, value in enumerate(champion)]
    bound = paired_lower_bound(better, champion, level=0.05, seed=4)
    assert 0.0 < bound < sum(better) / 200 - sum(champion) / 200
    # The same scores in another order are as good on average, yet paired with the wrong examples they prove nothing.
    assert paired_lower_bound(better[::-1], champion, level=0.05, seed=4) < 0.0
    assert paired_lower_bound(champion, champion, seed=4) == 0.0


def test_paired_bound_needs_the_same_examples() -> None:
    with pytest.raises(ValueError, match="one length"):
        paired_lower_bound([1.0], [1.0, 0.0])


def test_mcnemar_is_the_two_sided_binomial_test_of_the_discordant_pairs() -> None:
    assert mcnemar_exact(5, 15) == pytest.approx(0.04138946533203125)  # scipy.stats.binomtest(5, 20)
    assert mcnemar_exact(15, 5) == mcnemar_exact(5, 15)
    assert mcnemar_exact(0, 0) == mcnemar_exact(4, 4) == 1.0


def test_holm_corrects_for_the_number_of_tests_and_keeps_their_order() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]


def test_examples_needed_grow_with_the_square_and_shrink_with_pairing() -> None:
    # 2 * 0.9 * 0.1 * (1.95996 + 0.84162)^2 / 0.01^2
    assert examples_needed(0.9) == 14128
    assert examples_needed(0.9, 0.02) == pytest.approx(14128 / 4, abs=1)
    assert examples_needed(0.9, discordant=0.06) < examples_needed(0.9) / 2
    with pytest.raises(ValueError, match="above 0"):
        examples_needed(0.9, 0.0)


def test_an_interval_has_names() -> None:
    assert Interval(0.1, 0.2).high == 0.2
