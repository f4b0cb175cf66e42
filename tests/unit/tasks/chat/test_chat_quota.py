"""Requests and tokens a minute."""

from __future__ import annotations

import math

import pytest

from tasks.chat.quota import Quota


def sent_in(quota: Quota, seconds: float, tokens: int, used: int | None = None) -> int:
    """How many requests go out if each is sent as soon as it may be."""
    now, number = 0.0, 0
    while True:
        now += quota.wait(tokens, now)
        if now >= seconds:
            return number
        quota.take(tokens, now)
        number += 1
        if used is not None:
            quota.correct(tokens, used, now)


def test_without_limits_nothing_waits() -> None:
    quota = Quota(None, None, 0.0)
    assert (quota.limited, quota.wait(10**9, 0.0), quota.room(0.0)) == (False, 0.0, math.inf)


@pytest.mark.parametrize("limit", [6, 60, 600, 6000])
def test_requests_a_minute_are_kept_but_for_the_bucket_s_second(limit: int) -> None:
    sent = sent_in(Quota(limit, None, 0.0), 600.0, 100)
    assert 10 * limit <= sent <= 10 * limit + max(1, limit / 60)


@pytest.mark.parametrize("tokens", [10, 1000, 90_000])
def test_tokens_a_minute_are_kept_however_large_one_request_is(tokens: int) -> None:
    sent = sent_in(Quota(None, 60_000, 0.0), 600.0, tokens)
    assert 600_000 - tokens <= sent * tokens <= 600_000 + 1000 + tokens


def test_what_a_request_really_used_takes_the_place_of_the_estimate() -> None:
    over = sent_in(Quota(None, 60_000, 0.0), 600.0, 1000, used=500)
    under = sent_in(Quota(None, 60_000, 0.0), 600.0, 1000, used=2000)
    assert over == pytest.approx(1200, rel=0.01)
    assert under == pytest.approx(300, rel=0.01)


def test_room_is_how_many_may_go_now_and_comes_back_with_time() -> None:
    quota = Quota(600, None, 0.0)
    assert quota.room(0.0) == 10
    for _ in range(10):
        quota.take(5, 0.0)
    assert quota.room(0.0) == 0
    assert quota.until_room(0.0) == pytest.approx(0.1)
    assert quota.room(0.5) == 5
    assert quota.room(100.0) == 10


def test_wrong_figures_can_neither_fill_the_bucket_beyond_its_size_nor_stop_the_clock() -> None:
    quota = Quota(None, 600, 0.0)
    quota.correct(10, -(10**9), 0.0)
    assert quota.wait(10, 0.0) == 0.0
    quota.take(10, 0.0)
    assert quota.wait(10, 0.0) > 0.0
