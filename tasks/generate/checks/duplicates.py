"""Conversations whose answers say nearly the same as those of an earlier one.

Answers are compared by their word triples: MinHash (Broder 1997) brings together what may be alike, and the Jaccard
similarity of the triples themselves decides. The signatures are compared band by band as arrays: an index of dicts,
as in `datasketch.MinHashLSH`, takes about 4 kB a conversation, arrays take 200 bytes.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from model.records import Turn
from tasks.generate.languages.base import Language

BANDS, ROWS = 6, 5
"""Two texts of similarity s meet in a band with probability 1 - (1 - s^5)^6: 0.995 at 0.9, 0.91 at 0.8, 0.17 at 0.5."""
PERMUTATIONS = BANDS * ROWS
SHINGLE = 3
FEWEST = 12
"""Shorter answers ("There are two dogs.") are rightly alike about different images."""

Triples = frozenset[tuple[str, ...]]


def triples_of(turns: Sequence[Turn], language: Language) -> Triples:
    """The word triples of the answers; none where they are too short to be compared."""
    found: set[tuple[str, ...]] = set()
    for turn in turns:
        if turn.role == "gpt":
            words = language.words(turn.text)
            found.update(zip(words, words[1:], words[2:], strict=False))
    return frozenset(found) if len(found) >= FEWEST else frozenset()


def similarity(first: Triples, second: Triples) -> float:
    """Jaccard similarity of two sets of triples; 0 where one was too short."""
    return len(first & second) / len(first | second) if first and second else 0.0


class Signatures:
    """MinHash signatures of a set of conversations, in order."""

    def __init__(self) -> None:
        # Here, not with this module: it takes a second.
        from datasketch import MinHash

        self._hash = MinHash(num_perm=PERMUTATIONS, hashfunc=zlib.crc32)
        self._values = array("I")
        self._long_enough = array("b")

    def add(self, triples: Triples) -> None:
        """Add the next conversation."""
        self._hash.clear()
        self._hash.update_batch([" ".join(triple).encode() for triple in triples])
        self._values.extend(self._hash.hashvalues.tolist())
        self._long_enough.append(bool(triples))

    def leaders(self) -> NDArray[np.int32]:
        """For each conversation, the first of those that share a band with it, band by band: (conversations, BANDS).

        One that shares a band with nobody before it, or is too short to be compared, leads itself.
        """
        number = len(self._long_enough)
        values = np.frombuffer(self._values, np.uint32).reshape(number, BANDS, ROWS)
        long_enough = np.flatnonzero(np.frombuffer(self._long_enough, np.int8))
        found = np.repeat(np.arange(number, dtype=np.int32)[:, None], BANDS, axis=1)
        for band in range(BANDS):
            _, first, group = np.unique(values[long_enough, band], axis=0, return_index=True, return_inverse=True)
            found[long_enough, band] = long_enough[first[group.reshape(-1)]]
        return found


def near_duplicates(
    leaders: NDArray[np.int32], triples: Callable[[int], Triples], threshold: float
) -> Iterator[tuple[int, int]]:
    """(conversation, the earlier one that it repeats), in order. `triples` reads those of one by its place.

    A candidate is compared with what its leader stands for: of a leader that is itself a duplicate, the one that
    stays. The text decides, so nothing is dropped by the chance of a hash.
    """
    stays = np.arange(len(leaders))
    for place, row in enumerate(leaders):
        earlier = sorted({int(stays[leader]) for leader in row if leader != place})
        mine = triples(place) if earlier else frozenset()
        for other in earlier:
            if similarity(mine, triples(other)) >= threshold:
                stays[place] = other
                yield place, other
                break
