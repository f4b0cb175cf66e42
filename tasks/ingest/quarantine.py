"""What was left out, why, and whether it is too much."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.errors import DataError, TooMuchBadInput
from tasks.ingest.records import Quarantined

SHOWN_REASONS = 3


def reasons_of(quarantined: Sequence[Quarantined]) -> dict[str, int]:
    """How many records each reason left out, most frequent first."""
    counted = Counter(record.reason for record in quarantined)
    return {reason: number for reason, number in sorted(counted.items(), key=lambda item: (-item[1], item[0]))}


def check_share(kept: int, quarantined: Sequence[Quarantined], max_bad_share: float) -> None:
    """Raise TooMuchBadInput if the share of bad records is above the limit, DataError if nothing is left.

    Duplicates do not count as bad: nothing is wrong with them.
    """
    bad = [record for record in quarantined if record.reason != "duplicate"]
    total = kept + len(bad)
    if bad and len(bad) / total > max_bad_share:
        raise TooMuchBadInput(
            f"{len(bad)} of {total} records cannot be used ({len(bad) / total:.1%}, and data.limits.max_bad_share is "
            f"{max_bad_share:.1%}): {_shown(bad)}"
        )
    if not kept:
        raise DataError("the source holds no usable image: look at data.source in the experiment")


def _shown(bad: Sequence[Quarantined]) -> str:
    first = {record.reason: record for record in reversed(bad)}
    parts = [
        f"{reason} ({number}, as {first[reason].id}: {first[reason].detail})"  # type: ignore[index]
        for reason, number in reasons_of(bad).items()
    ]
    more = f"; and {len(parts) - SHOWN_REASONS} more reasons" if len(parts) > SHOWN_REASONS else ""
    return " ".join(("; ".join(parts[:SHOWN_REASONS]) + more).split())
