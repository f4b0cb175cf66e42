"""How the number of requests at once follows what an endpoint does."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as some

from tasks.chat.pace import START, WINDOW, Pace

Latency = Callable[[int], float]


def rounds(pace: Pace, number: int, latency: Latency, start: float = 0.0) -> float:
    """So many rounds in which all that is allowed is sent and answered; returns the time after them."""
    for _ in range(number):
        limit, sent = pace.limit, start
        start += latency(limit)
        for _ in range(limit):
            pace.answered(sent, start)
    return start


def test_it_grows_from_a_few_to_the_ceiling_while_all_is_well_and_doubles_each_round() -> None:
    pace = Pace(64)
    seen = [pace.limit]
    now = 0.0
    while pace.limit < 64:
        now = rounds(pace, 1, lambda at_once: 0.5, now)
        seen.append(pace.limit)
    assert seen == [START, 16, 32, 64]
    rounds(pace, 5, lambda at_once: 0.5, now)
    assert pace.limit == 64


def test_a_ceiling_below_the_start_is_kept() -> None:
    assert Pace(1).limit == 1
    assert Pace(3).limit == 3


def test_many_refusals_halve_it_again_and_again_down_to_one() -> None:
    pace, now, seen = Pace(64), 0.0, []
    now = rounds(pace, 6, lambda at_once: 0.5, now)
    for _ in range(400):
        now += 0.1
        pace.refused(now - 0.05, now)
        seen.append(pace.limit)
    assert seen[0] == 64 and seen[-1] == 1
    assert sorted(seen, reverse=True) == seen


def test_refusals_of_what_was_sent_before_a_back_off_do_not_count_again() -> None:
    pace = Pace(64)
    now = rounds(pace, 6, lambda at_once: 0.5)
    for _ in range(64):
        pace.refused(now, now + 1.0)
    assert pace.limit == int(64 * 0.7)


def test_a_few_refusals_among_many_answers_do_not_slow_it_down() -> None:
    pace, chance = Pace(64), random.Random(1)
    now = rounds(pace, 6, lambda at_once: 0.5)
    limits = []
    for _ in range(4000):
        now += 0.01
        if chance.random() < 0.05:
            pace.refused(now - 0.5, now)
        else:
            pace.answered(now - 0.5, now)
        limits.append(pace.limit)
    assert sum(limits) / len(limits) > 58


def test_an_endpoint_that_answers_one_at_a_time_is_not_given_much_more() -> None:
    pace = Pace(64)
    rounds(pace, 60, lambda at_once: 0.5 * at_once)
    assert pace.limit <= 4 * START


def test_latency_may_rise_where_more_at_once_brings_more_answers() -> None:
    pace = Pace(64)
    rounds(pace, 40, lambda at_once: 0.5 + 0.02 * at_once)
    assert pace.limit == 64


def test_it_backs_off_when_latency_rises_at_an_unchanged_number_and_recovers() -> None:
    pace = Pace(32)
    now = rounds(pace, 20, lambda at_once: 0.5)
    now = rounds(pace, 6, lambda at_once: 3.0, now)
    low = pace.limit
    assert low < 32
    rounds(pace, 40, lambda at_once: 0.5, now)
    assert low < pace.limit == 32


@given(some.lists(some.tuples(some.booleans(), some.floats(0.0, 100.0)), max_size=3 * WINDOW), some.integers(1, 200))
def test_whatever_happens_it_stays_between_one_and_the_ceiling(events: list[tuple[bool, float]], ceiling: int) -> None:
    pace, now = Pace(ceiling), 0.0
    for good, latency in events:
        now += 1.0
        (pace.answered if good else pace.refused)(now - latency, now)
        assert 1 <= pace.limit <= ceiling
