"""Who is on the wire when: pauses that are ordered, quotas, outages. All on a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from configs.schema import OpenAIEndpoint
from tasks.chat.errors import Retry
from tasks.chat.records import Reply
from tasks.chat.traffic import Traffic

ANSWERED = Reply("x", 1, 1)
FAILED = Retry("HTTP 500")


class Time:
    """A clock that sleeping moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


def run(work: Callable[[Traffic, Time], Coroutine[Any, Any, None]], **knobs: Any) -> None:
    time = Time()
    traffic = Traffic(OpenAIEndpoint(kind="openai", model="m", **knobs), time.clock, time.sleep)
    asyncio.run(work(traffic, time))


def test_after_an_ordered_pause_nothing_new_is_sent_before_its_end() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        sent = await traffic.enter(10)
        traffic.leave(sent, 10, Retry("HTTP 429", after=30.0, too_many=True))
        assert traffic.room(0) == 0
        assert traffic.until_room() == 30.0
        assert await traffic.enter(10) >= 30.0
        assert traffic.room(1) == 8 + 2 - 1

    run(work, concurrency=8)


def test_a_shorter_pause_does_not_end_a_longer_one() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        for after in (30.0, 2.0):
            traffic.leave(0.0, 10, Retry("HTTP 429", after=after))
        assert traffic.until_room() == 30.0

    run(work)


def test_no_more_than_the_width_are_on_the_wire_and_each_that_leaves_lets_one_in() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        on_wire = [await traffic.enter(1) for _ in range(2)]
        third, fourth = (asyncio.ensure_future(traffic.enter(1)) for _ in range(2))
        await asyncio.sleep(0)
        assert not third.done() and not fourth.done()
        traffic.leave(on_wire.pop(), 1, ANSWERED)
        await third
        assert not fourth.done()
        fourth.cancel()

    run(work, concurrency=2)


def test_a_place_that_was_given_to_one_who_no_longer_waits_goes_to_the_next() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        sent = await traffic.enter(1)
        gone, next_one = (asyncio.ensure_future(traffic.enter(1)) for _ in range(2))
        await asyncio.sleep(0)
        traffic.leave(sent, 1, ANSWERED)
        gone.cancel()
        await asyncio.wait_for(next_one, 5)

    run(work, concurrency=1)


def test_after_failures_in_a_row_only_a_probe_is_sent_and_its_answer_lets_the_others_go_on() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        sent = [await traffic.enter(1) for _ in range(4)]
        for one in sent:
            traffic.leave(one, 1, FAILED)
        assert traffic.circuit.probing
        assert (traffic.room(0), traffic.room(1)) == (1, 0)
        probe = await traffic.enter(1)
        others = [asyncio.ensure_future(traffic.enter(1)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(other.done() for other in others)
        traffic.leave(probe, 1, ANSWERED)
        await asyncio.gather(*others)
        assert not traffic.circuit.probing

    run(work, concurrency=8, circuit_after=4)


def test_an_answer_between_failures_keeps_the_circuit_closed() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        for outcome in (FAILED, FAILED, ANSWERED) * 10:
            traffic.leave(await traffic.enter(1), 1, outcome)
            assert not traffic.circuit.probing

    run(work, circuit_after=3)


def test_a_few_more_are_handed_over_than_may_be_on_the_wire_but_not_while_probing() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        assert traffic.room(0) == 8 + 2
        assert (traffic.room(9), traffic.room(10)) == (1, 0)
        for _ in range(3):
            traffic.leave(await traffic.enter(1), 1, FAILED)
        assert traffic.room(0) == 1

    run(work, concurrency=8, circuit_after=3)


def test_requests_a_minute_are_kept_on_the_wire_and_in_what_is_handed_over() -> None:
    async def work(traffic: Traffic, time: Time) -> None:
        for _ in range(60):
            traffic.leave(await traffic.enter(1), 1, ANSWERED)
        assert 58.0 <= time.now <= 60.0
        assert traffic.room(0) == 0
        assert 0 < (traffic.until_room() or 0) <= 1.0

    run(work, requests_per_minute=60)
