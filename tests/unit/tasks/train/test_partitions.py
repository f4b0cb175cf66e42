from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import TrainingError
from tasks.train.partitions import Fragment, Piece, overlaps

LENGTH = 60


def cut(marks: list[int]) -> list[tuple[int, int]]:
    """(start, length) of the parts of a parameter that is cut at these places."""
    edges = sorted({0, LENGTH, *marks})
    return [(first, last - first) for first, last in pairwise(edges)]


@given(before=st.lists(st.integers(1, LENGTH - 1)), after=st.lists(st.integers(1, LENGTH - 1)))
def test_however_a_parameter_was_cut_each_new_part_gets_its_own_elements(before: list[int], after: list[int]) -> None:
    whole = list(range(LENGTH))
    pieces = [Piece(start, length, file, "key") for file, (start, length) in enumerate(cut(before))]
    for start, length in cut(after):
        part = [-1] * length
        for piece, take, put in overlaps(Fragment("w", start, length, 0, 0), pieces):
            part[put] = whole[piece.start : piece.start + piece.length][take]
        assert part == whole[start : start + length]


@pytest.mark.parametrize("pieces", [[], [Piece(0, 5, 0, "a")], [Piece(0, 9, 0, "a"), Piece(4, 6, 1, "b")]])
def test_parts_that_are_missing_or_twice_there_are_refused(pieces: list[Piece]) -> None:
    with pytest.raises(TrainingError, match="elements of w: it is not whole"):
        list(overlaps(Fragment("w", 0, 10, 0, 0), pieces))
