"""Intervals and tests agree with published values, with the definition, and with themselves under a seed."""

from __future__ import annotations

import random
from math import comb

import numpy as np
import pytest

import tasks.statistics as statistics
from tasks.statistics import (
    Interval,
    benjamini_hochberg,
    bootstrap_mean,
    bootstrap_mean_ratio,
    bootstrap_ratio,
    bootstrap_statistic,
    exact_interval,
    examples_needed,
    examples_needed_ratio,
    holm,
    mcnemar_exact,
    paired_difference,
    paired_lower_bound,
    paired_p_value,
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


def test_one_run_has_the_interval_of_its_ratio_and_several_that_of_their_mean() -> None:
    top, bottom = [3.0, 5.0, 8.0, 2.0], [8.0, 8.0, 9.0, 7.0]
    assert bootstrap_mean_ratio([(top, bottom)], seed=3) == bootstrap_ratio(top, bottom, seed=3)
    assert bootstrap_mean_ratio([(top, bottom)] * 3, seed=3) == pytest.approx(bootstrap_ratio(top, bottom, seed=3))
    with pytest.raises(ValueError, match="one length"):
        bootstrap_mean_ratio([(top, bottom), (top[:2], bottom[:2])])


def test_a_statistic_that_hardly_any_resample_has_has_no_interval() -> None:
    assert bootstrap_statistic(5, lambda rows: np.full(len(rows), np.nan)) is None
    values = np.array([0.0, 1.0, 1.0, 1.0])
    assert bootstrap_statistic(4, lambda rows: values[rows].mean(axis=1), seed=1) == bootstrap_mean(
        [0.0, 1.0, 1.0, 1.0], seed=1
    )


def test_a_paired_difference_is_surer_than_its_parts() -> None:
    first = [1.0, 0.0] * 50
    second = [*first[:96], 0.0, 0.0, 0.0, 0.0]
    ones = [1.0] * 100
    paired = paired_difference((first, ones), (second, ones), seed=1)
    assert 0.0 <= paired.low <= 0.02 <= paired.high < 0.06
    assert paired.high - paired.low < bootstrap_mean(first, seed=1).high - bootstrap_mean(first, seed=1).low


def test_the_sign_test_of_paired_differences_agrees_with_the_exact_one() -> None:
    assert paired_p_value([1.0] * 6) == pytest.approx(2 / 2**6, abs=0.006)
    assert paired_p_value([1.0, -1.0]) == 1.0
    assert paired_p_value([0.5, -0.25, 0.1]) == paired_p_value([0.5, -0.25, 0.1])


def test_benjamini_hochberg_is_that_of_the_paper_and_no_stricter_than_holm() -> None:
    p_values = [0.01, 0.04, 0.03, 0.005]
    assert benjamini_hochberg(p_values) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert all(bh <= strict for bh, strict in zip(benjamini_hochberg(p_values), holm(p_values), strict=True))
    assert benjamini_hochberg([]) == []


def test_a_ratio_that_spreads_more_takes_more_examples() -> None:
    bottom = [8.0] * 8
    calm, wild = [6.0, 6.0, 5.0, 7.0] * 2, [1.0, 10.0, 2.0, 9.0] * 2
    assert examples_needed_ratio(calm, bottom) < examples_needed_ratio(wild, bottom)
    assert examples_needed_ratio([6.0] * 4, [8.0] * 4) == 1
    # A share is a ratio with denominators of 1: both formulas agree.
    assert examples_needed_ratio([1.0, 0.0] * 50, [1.0] * 100) == examples_needed(0.5)
