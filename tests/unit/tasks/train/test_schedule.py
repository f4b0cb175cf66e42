from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import StageConfig
from tasks.train.schedule import rate, total_steps


@pytest.mark.parametrize(
    ("samples", "batch", "epochs", "steps"),
    [(100, 10, 1.0, 10), (101, 10, 1.0, 11), (100, 10, 2.5, 25), (100, 10, 0.01, 1), (7, 7, 1.0, 1)],
)
def test_steps_follow_from_epochs_the_last_step_filled_up(samples: int, batch: int, epochs: float, steps: int) -> None:
    assert total_steps(StageConfig(batch=batch, epochs=epochs, lr=1.0), samples) == steps


def test_an_exact_number_of_steps_holds_whatever_the_samples() -> None:
    assert total_steps(StageConfig(batch=10, steps=3, epochs=9.0, lr=1.0), 1000) == 3


@given(steps=st.integers(1, 300), share=st.floats(0, 0.5))
def test_every_update_has_a_rate_above_nothing_that_rises_once_and_falls_once(steps: int, share: float) -> None:
    rates = [rate(step, steps, share) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0.0 < each <= 1.0 for each in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_cosine_is_half_way_down_half_way_through() -> None:
    assert rate(0, 100, 0.0) == 1.0
    assert rate(50, 100, 0.0) == pytest.approx(0.5)
    assert rate(100, 100, 0.0) == pytest.approx(0.0)
    assert [rate(step, 100, 0.03) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
