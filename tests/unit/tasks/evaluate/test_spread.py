"""Questions are dealt out in order, all of them, once, in parts that keep every worker busy."""

from __future__ import annotations

import pytest

from tasks.evaluate.spread import chunks


@pytest.mark.parametrize("count", [0, 1, 7, 64, 65, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("batch", [1, 16])
def test_every_question_is_in_one_part_and_in_order(count: int, workers: int, batch: int) -> None:
    parts = chunks(count, workers, batch)
    assert [position for part in parts for position in part] == list(range(count))
    assert all(parts)
    # A worker is idle only where there are not enough questions.
    assert len(parts) >= min(count, workers) // 2


def test_a_part_is_no_smaller_than_what_a_worker_answers_at_once() -> None:
    assert [len(part) for part in chunks(64, 2, 16)] == [16, 16, 16, 16]
    assert [len(part) for part in chunks(20, 4, 64)] == [5, 5, 5, 5]
