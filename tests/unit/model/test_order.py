from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.order import StepOrder, epoch_order


@st.composite
def orders(draw: st.DrawFn) -> StepOrder:
    batch = draw(st.integers(1, 9))
    return StepOrder(draw(st.integers(0, 2**31)), draw(st.integers(batch, 40)), batch)


@given(orders(), st.integers(0, 3))
def test_every_sample_comes_exactly_once_an_epoch(order: StepOrder, epoch: int) -> None:
    first, last = epoch * order.samples, (epoch + 1) * order.samples
    steps = range(first // order.batch, -(-last // order.batch))
    row = list(chain.from_iterable(order.step(step) for step in steps))
    start = first - steps[0] * order.batch
    assert sorted(row[start : start + order.samples]) == list(range(order.samples))


@given(orders(), st.lists(st.integers(0, 30), min_size=1, max_size=8))
def test_a_step_is_the_same_whatever_was_asked_before(order: StepOrder, asked: list[int]) -> None:
    for step in asked:
        assert order.step(step) == StepOrder(order.seed, order.samples, order.batch).step(step)


def test_a_step_across_an_epochs_end_takes_from_both() -> None:
    order = StepOrder(seed=5, samples=5, batch=3)
    assert order.step(1) == [*epoch_order(5, 0, 5)[3:], *epoch_order(5, 1, 5)[:1]]


def test_epochs_and_seeds_differ() -> None:
    assert len({tuple(epoch_order(seed, epoch, 20)) for seed in range(3) for epoch in range(3)}) == 9


def test_an_order_is_the_same_on_every_machine() -> None:
    # PCG64 and `permutation` are fixed by numpy's stream policy; another figure here means runs no longer resume.
    assert [*epoch_order(0, 0, 8)] == [2, 4, 3, 6, 5, 0, 1, 7]
    assert [*epoch_order(3, 2, 8)] == [1, 7, 4, 0, 2, 6, 3, 5]


def test_fewer_samples_than_a_step_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 samples are fewer than the 4"):
        StepOrder(0, 3, 4)
