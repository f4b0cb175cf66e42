"""Which conversations to ask for: kinds by the mix, images by a hash of the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from configs.schema import Mix
from tasks.generate.kinds import KINDS, AskedKind


class Wish(NamedTuple):
    """One conversation to ask for: small, as there may be millions. `turn` counts those of one kind about one image."""

    place: int
    """Of the image among the captioned ones."""
    kind: AskedKind
    turn: int = 0

    def id(self, images: Sequence[str]) -> str:
        """Id of the sample that comes of it; unique over wishes. `images` are the ids of the captioned images."""
        return f"{images[self.place]}-{self.kind}" + (f"-{self.turn + 1}" if self.turn else "")


def quotas(samples: int, mix: Mix) -> dict[AskedKind, int]:
    """How many conversations of each kind: in proportion to the mix, rounded so that they sum to `samples`."""
    parts = {kind: int(getattr(mix, kind)) for kind in KINDS}
    total = sum(parts.values())
    counts = {kind: samples * part // total for kind, part in parts.items()}
    by_remainder = sorted(KINDS, key=lambda kind: (-(samples * parts[kind] % total), KINDS.index(kind)))
    for kind in by_remainder[: samples - sum(counts.values())]:
        counts[kind] += 1
    return counts


def choose(images: Sequence[str], samples: int, mix: Mix, seed: int) -> list[Wish]:
    """So many wishes over the images, the same for the same seed; their order mixes the kinds throughout.

    An image's rank depends on its id alone, so adding images to a set leaves most choices, and with them the
    ledger's answers, as they were. An image is asked about again in a kind only when all have been.
    """
    ranked: list[tuple[float, Wish]] = []
    for kind, quota in quotas(samples, mix).items():
        chosen = _chosen(images, kind, quota, seed)
        ranked += (((number + 0.5) / quota, wish) for number, wish in enumerate(chosen))
    # Whoever stops early, for want of money or because the teacher talks nonsense, has seen a fair part of each kind.
    ranked.sort()
    return [wish for _, wish in ranked]


def _chosen(images: Sequence[str], kind: AskedKind, quota: int, seed: int) -> list[Wish]:
    wishes: list[Wish] = []
    turn = 0
    while len(wishes) < quota:
        ranks = [_rank(seed, kind, turn, image) for image in images]
        order = sorted(range(len(images)), key=lambda place: (ranks[place], images[place]))
        wishes += [Wish(place, kind, turn) for place in order[: quota - len(wishes)]]
        turn += 1
    return wishes


def _rank(seed: int, kind: str, turn: int, image: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{kind}/{turn}/{image}".encode()).digest()[:8], "big")
