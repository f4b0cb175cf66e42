from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.train.seen import PLATEAU_WINDOW, SPIKE_WINDOW, plateau, speeds, spikes

FALLING = [4.0 * 0.995**step + 0.01 * (step % 3) for step in range(300)]


def test_speeds_are_over_the_whole_step_its_waiting_included() -> None:
    history = [{"tokens": 300.0, "supervised_tokens": 100.0, "samples": 4.0}] * 2
    timings = [
        {"seconds": 1.0, "waiting": 0.0, "row_fill": 0.5, "mfu": 0.8, "memory_gb": 1.0},
        {"seconds": 2.0, "waiting": 1.0, "row_fill": 1.0, "mfu": 0.4, "memory_gb": 1.5},
    ]
    assert speeds(history, timings) == {
        "tokens_per_second": 150, "supervised_tokens_per_second": 50.0, "samples_per_second": 2.0,
        "waiting_share": 0.25, "row_fill": 0.75, "mfu": 0.5, "memory_gb": 1.5,
    }


def test_a_falling_loss_has_no_spike_and_no_plateau() -> None:
    assert spikes(FALLING) == []
    assert plateau([4.0 * 0.999**step for step in range(1000)]) is None


@pytest.mark.parametrize("at", [SPIKE_WINDOW, 150, 299])
def test_a_jump_is_named_by_its_step(at: int) -> None:
    losses = [*FALLING]
    losses[at] *= 2
    assert spikes(losses) == [at + 1]


@given(st.lists(st.floats(0.0, 100.0), max_size=SPIKE_WINDOW))
def test_too_few_steps_to_compare_with_have_no_spike(losses: list[float]) -> None:
    assert spikes(losses) == []


def test_a_plateau_is_named_by_the_step_from_which_the_loss_fell_no_more() -> None:
    losses = [4.0 - step / 200 for step in range(2 * PLATEAU_WINDOW)] + [2.0] * (3 * PLATEAU_WINDOW)
    assert plateau(losses) == 3 * PLATEAU_WINDOW + 1
    assert plateau(losses[: 2 * PLATEAU_WINDOW]) is None
    assert plateau([]) is None
