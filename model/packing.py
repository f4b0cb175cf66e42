"""Pack the samples of a step into rows. Pure: how samples are packed changes speed and memory, never the result."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Rows of sample positions, first-fit decreasing: each row's lengths sum to at most `row_tokens`.

    A sample longer than a row gets a row of its own. Deterministic; every position occurs exactly once.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        need = lengths[position]
        fit = next((row for row, left in enumerate(room) if left >= need), None)
        if fit is None:
            rows.append([position])
            room.append(row_tokens - need)
        else:
            rows[fit].append(position)
            room[fit] -= need
    return rows


def spread(lengths: Sequence[int], ranks: int, row_tokens: int) -> list[list[list[int]]]:
    """Rows for each rank: samples are dealt out by load, then packed; every rank has equally many rows.

    Ranks must run the same collectives, so a rank with fewer rows gets empty ones.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for position in sorted(range(len(lengths)), key=lambda at: (-lengths[at], at)):
        rank = min(range(ranks), key=lambda at: (load[at], at))
        shares[rank].append(position)
        load[rank] += lengths[position]
    packed = [
        [[share[at] for at in row] for row in pack([lengths[at] for at in share], row_tokens)] for share in shares
    ]
    height = max(len(rows) for rows in packed)
    return [rows + [[] for _ in range(height - len(rows))] for rows in packed]
