"""A 64-bit perceptual hash of an image, and how it is cut into bands to find those that differ in few bits."""

from __future__ import annotations

from itertools import pairwise

from PIL import Image

SIDE = 32
FLAT = 4.0
"""Standard deviation of the grey levels (0..255) below which an image is flat."""
BITS = 64
FEWEST_BANDS = 4


def perceptual_hash(image: Image.Image) -> str | None:
    """The DCT hash of imagehash.phash, 16 hex digits; None for a flat image.

    The hash holds the signs of low frequencies about their median. A flat image has none but rounding noise, so that
    all such images would look like one another.
    """
    # Here, as they bring scipy: the process that only collects what workers found shall stay small.
    import imagehash
    import numpy as np

    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    if float(np.asarray(small, dtype=np.float32).std()) < FLAT:
        return None
    return str(imagehash.phash(small))


def bands_of(phash: int, bits: int) -> list[int]:
    """The hash cut into more bands than bits may differ, so that two such hashes share at least one whole band."""
    number = max(FEWEST_BANDS, bits + 1)
    edges = [BITS * place // number for place in range(number + 1)]
    return [(phash >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(edges)]


def distance(one: int, other: int) -> int:
    """In how many bits two hashes differ."""
    return (one ^ other).bit_count()
