from __future__ import annotations

import threading
from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.order import StepOrder
from model.packed import Row
from tasks.errors import ArtifactError
from tasks.train.steps import AHEAD, Planner, StepPlan, read_ahead
from tasks.train.survey import Survey


def planners(ranks: int, samples: int = 23, batch: int = 8, row_tokens: int = 60) -> list[Planner]:
    draw = np.random.Generator(np.random.PCG64(1))
    survey = Survey(np.arange(samples) * 2, draw.integers(5, 50, samples), draw.integers(1, 5, samples))
    return [Planner(survey, StepOrder(4, samples, batch), rank, ranks, row_tokens) for rank in range(ranks)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
@given(step=st.integers(0, 40))
def test_ranks_cover_each_steps_samples_exactly_once(ranks: int, step: int) -> None:
    plans = [planner.plan(step) for planner in planners(ranks)]
    covered = sorted(at for plan in plans for row in plan.rows for at in row)
    assert covered == sorted(StepOrder(4, 23, 8).step(step))
    assert len({len(plan.rows) for plan in plans}) == 1


@given(step=st.integers(0, 40))
def test_the_totals_of_a_step_are_the_same_on_every_rank_and_for_any_number_of_ranks(step: int) -> None:
    survey = planners(1)[0].survey
    taken = StepOrder(4, 23, 8).step(step)
    told = (sum(int(survey.lengths[at]) for at in taken), sum(int(survey.supervised[at]) for at in taken), 8)
    for ranks in (1, 2, 3):
        plans = [planner.plan(step) for planner in planners(ranks)]
        assert {(plan.tokens, plan.supervised, plan.samples) for plan in plans} == {told}


def empty(plan: StepPlan) -> list[Row]:
    return []


def test_steps_come_in_order_from_the_first_to_before_the_last() -> None:
    plan = planners(1)[0].plan
    assert [planned.step for planned, _ in read_ahead(3, 9, plan, empty)] == list(range(3, 9))
    assert list(read_ahead(9, 9, plan, empty)) == []


def test_what_goes_wrong_while_reading_is_raised_at_its_step() -> None:
    def read(plan: StepPlan) -> list[Row]:
        if plan.step == 2:
            raise ArtifactError("shard is cut off")
        return []

    seen = []
    with pytest.raises(ArtifactError, match="shard is cut off"):
        for planned, _ in read_ahead(0, 5, planners(1)[0].plan, read):
            seen.append(planned.step)
    assert seen == [0, 1]


def test_reading_ahead_is_bounded_and_ends_with_its_reader() -> None:
    asked: list[int] = []

    def read(plan: StepPlan) -> list[Row]:
        asked.append(plan.step)
        return []

    steps = read_ahead(0, 1000, planners(1)[0].plan, read)
    next(steps)
    assert isinstance(steps, Generator)
    steps.close()
    # In the queue, in the thread's hand, and the one that was taken.
    assert max(asked) <= AHEAD + 1
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]
