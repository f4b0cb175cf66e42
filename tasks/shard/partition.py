"""Which samples lie in one shard: a pure function of content that hardly changes when samples are added.

A sample's place is a number drawn from the hash of its image, so all samples of one image lie side by side. Shards are
the leaves of a binary trie over places: a leaf that passes a bound is split by its next bit. Samples that are added or
removed change only the leaves they fall into. A shard is named by its prefix in the trie, not by a number: when a leaf
is split, the names of all others stay, and sorted names are still in the order of the trie.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

PLACE_BITS = 63
"""Bits of a place: as many as a signed integer of SQLite holds. Images that share all of them share a shard."""
SHARE_BITS = 64


@dataclass(frozen=True)
class Limits:
    """Bounds of one shard; the samples of a single image that are beyond them have a shard of their own."""

    max_samples: int
    max_bytes: int


@dataclass(frozen=True)
class Leaf:
    """A shard to be: samples `start` .. `stop - 1` in the order of places. `prefix` is its way down the trie."""

    prefix: str
    start: int
    stop: int


def place_of(digest: bytes) -> int:
    """The place of what has this sha256."""
    return int.from_bytes(digest[:8], "big") >> (64 - PLACE_BITS)


def is_held_out(digest: bytes, share: float) -> bool:
    """Whether what has this sha256 is kept from training.

    Drawn from a digest of its own, as the first bits of the sha256 itself say which shard it lies in.
    """
    drawn = int.from_bytes(hashlib.sha256(b"held out\0" + digest).digest()[:8], "big")
    return drawn < int(share * 2**SHARE_BITS)


def leaves(places: NDArray[np.int64], sizes: NDArray[np.int64], limits: Limits) -> list[Leaf]:
    """The leaves of samples with these places (ascending) and sizes in bytes, in the order of the trie."""
    ends = np.fromiter(accumulate(map(int, sizes), initial=0), dtype=np.int64, count=len(sizes) + 1)
    found: list[Leaf] = []
    open_ones = [Leaf("", 0, len(places))]
    while open_ones:
        leaf = open_ones.pop()
        if leaf.start == leaf.stop:
            continue
        fits = (
            leaf.stop - leaf.start <= limits.max_samples
            and int(ends[leaf.stop] - ends[leaf.start]) <= limits.max_bytes
        )
        if fits or places[leaf.start] == places[leaf.stop - 1]:
            found.append(leaf)
        else:
            open_ones += reversed(_halves(leaf, places))
    return found


def _halves(leaf: Leaf, places: NDArray[np.int64]) -> tuple[Leaf, Leaf]:
    depth = len(leaf.prefix)
    boundary = int(leaf.prefix + "1", 2) << (PLACE_BITS - depth - 1)
    middle = leaf.start + int(np.searchsorted(places[leaf.start : leaf.stop], boundary))
    return Leaf(leaf.prefix + "0", leaf.start, middle), Leaf(leaf.prefix + "1", middle, leaf.stop)
