"""Shards as leaves of a trie: a partition, within its bounds, that samples elsewhere do not change."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.shard.partition import PLACE_BITS, Leaf, Limits, is_held_out, leaves, place_of

PLACES = st.lists(st.integers(0, 2**PLACE_BITS - 1) | st.integers(0, 9), max_size=60)
"""Places anywhere, and some that many samples share or that lie close together."""


def partition(places: list[int], limits: Limits, size: int = 10) -> list[Leaf]:
    return leaves(np.sort(np.array(places, dtype=np.int64)), np.full(len(places), size, dtype=np.int64), limits)


def contents(places: list[int], limits: Limits) -> dict[str, list[int]]:
    """Prefix to places of each leaf."""
    return {leaf.prefix: sorted(places)[leaf.start : leaf.stop] for leaf in partition(places, limits)}


@given(PLACES, st.integers(1, 8))
def test_every_sample_lies_in_one_leaf_and_leaves_are_in_order(places: list[int], most: int) -> None:
    found = partition(places, Limits(most, 10**9))
    assert [number for leaf in found for number in range(leaf.start, leaf.stop)] == list(range(len(places)))
    assert [leaf.prefix for leaf in found] == sorted({leaf.prefix for leaf in found})
    assert not any(other.prefix.startswith(one.prefix) for one, other in pairwise(found))


@given(PLACES, st.integers(1, 8), st.integers(1, 100))
def test_a_leaf_keeps_to_both_bounds_unless_it_is_of_one_image(places: list[int], most: int, size: int) -> None:
    for leaf in partition(places, Limits(most, size)):
        count = leaf.stop - leaf.start
        assert (count <= most and count * 10 <= size) or len(set(sorted(places)[leaf.start : leaf.stop])) == 1


@given(PLACES, st.integers(1, 8))
def test_samples_of_one_place_are_never_apart(places: list[int], most: int) -> None:
    for one, other in pairwise(contents(places, Limits(most, 10**9)).values()):
        assert not set(one) & set(other)


@given(PLACES, PLACES, st.integers(1, 8))
def test_more_samples_change_only_the_leaves_they_fall_into(old: list[int], more: list[int], most: int) -> None:
    before, after = contents(old, Limits(most, 10**9)), contents(old + more, Limits(most, 10**9))
    bits = [f"{place:0{PLACE_BITS}b}" for place in more]
    for prefix, places in before.items():
        if not any(place.startswith(prefix) for place in bits):
            assert after[prefix] == places


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
def test_the_share_held_out_is_about_what_was_wished_and_says_nothing_of_the_place(share: float) -> None:
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(20_000)]
    held = [digest for digest in digests if is_held_out(digest, share)]
    assert len(held) / len(digests) == pytest.approx(share, abs=0.01)
    if share == 0.3:
        low = sum(place_of(digest) < 2 ** (PLACE_BITS - 1) for digest in held)
        assert low / len(held) == pytest.approx(0.5, abs=0.03)


def test_what_is_held_out_at_one_share_is_so_at_a_greater_one() -> None:
    digests = [hashlib.sha256(str(number).encode()).digest() for number in range(3000)]
    assert all(is_held_out(digest, 0.2) for digest in digests if is_held_out(digest, 0.1))
