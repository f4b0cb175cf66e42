from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from model.packing import pack, spread

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@given(LENGTHS, st.integers(1, 80))
def test_every_position_is_packed_exactly_once(lengths: list[int], budget: int) -> None:
    rows = pack(lengths, budget)
    assert sorted(at for row in rows for at in row) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 80))
def test_a_row_keeps_to_its_budget_unless_one_sample_alone_passes_it(lengths: list[int], budget: int) -> None:
    for row in pack(lengths, budget):
        assert sum(lengths[at] for at in row) <= budget or len(row) == 1


@given(LENGTHS, st.integers(60, 200))
def test_no_two_rows_would_fit_into_one(lengths: list[int], budget: int) -> None:
    loads = sorted(sum(lengths[at] for at in row) for row in pack(lengths, budget))
    assert len(loads) < 2 or loads[0] + loads[1] > budget


@given(LENGTHS, st.integers(1, 4), st.integers(1, 80))
def test_ranks_share_every_position_exactly_once_and_have_equally_many_rows(
    lengths: list[int], ranks: int, budget: int
) -> None:
    spread_out = spread(lengths, ranks, budget)
    assert len(spread_out) == ranks
    assert len({len(rows) for rows in spread_out}) == 1
    assert sorted(at for rows in spread_out for row in rows for at in row) == list(range(len(lengths)))


@given(LENGTHS, st.integers(2, 4))
def test_no_rank_carries_more_than_a_longest_sample_above_another(lengths: list[int], ranks: int) -> None:
    loads = [sum(lengths[at] for row in rows for at in row) for rows in spread(lengths, ranks, 10_000)]
    assert max(loads) - min(loads) <= max(lengths, default=0)


def test_more_ranks_than_samples_leave_each_a_row_to_run() -> None:
    assert spread([7, 9], 4, 10) == [[[1]], [[0]], [[]], [[]]]


def test_first_fit_decreasing_fills_rows_to_the_brim() -> None:
    assert pack([2, 6, 4, 8], 10) == [[3, 0], [1, 2]]
