"""Which conversations to ask for: kinds by the mix, images by a hash of the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from configs.schema import Mix
from tasks.generate.prompt import KINDS, AskedKind


@dataclass(frozen=True)
class Wish:
    """One conversation to ask for. `turn` counts those of one kind about one image, from 0."""

    image: str
    kind: AskedKind
    turn: int = 0

    @property
    def id(self) -> str:
        """Id of the sample that comes of it; unique over wishes."""
        return f"{self.image}-{self.kind}" + (f"-{self.turn + 1}" if self.turn else "")


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
    """So many wishes over the images, the same for the same seed.

    An image's place depends on its id alone, so adding images to a set leaves most choices, and with them the
    ledger's answers, as they were. An image is asked about again in a kind only when all have been.
    """
    wishes: list[Wish] = []
    for kind, quota in quotas(samples, mix).items():
        turn = 0
        while quota > 0:
            chosen = sorted(images, key=lambda image: _place(seed, kind, turn, image))[:quota]
            wishes += [Wish(image, kind, turn) for image in chosen]
            quota -= len(chosen)
            turn += 1
    return wishes


def _place(seed: int, kind: str, turn: int, image: str) -> bytes:
    return hashlib.sha256(f"{seed}/{kind}/{turn}/{image}".encode()).digest()
