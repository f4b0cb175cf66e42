"""What was left out, why, and whether it is too much. Kept on disk, as it may be as long as the set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tasks.errors import DataError, TooMuchBadInput
from tasks.ingest.records import HARMLESS, Quarantined
from tasks.ingest.staging import Staging

SHOWN_REASONS = 3


class Quarantine:
    """Records that were left out."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._counted: Counter[str] = Counter()
        self._first: dict[str, Quarantined] = {}

    def __len__(self) -> int:
        return self._counted.total()

    def add(self, record: Quarantined) -> None:
        """Leave a record out."""
        detail = record.detail.encode(errors="replace").decode()
        name = record.id.encode(errors="replace").decode()
        self._staging.put("INSERT INTO quarantine VALUES (?, ?, ?, ?)", name, record.reason, detail, len(self))
        self._counted[record.reason] += 1
        self._first.setdefault(record.reason, record)

    def reasons(self) -> dict[str, int]:
        """How many records each reason left out, most frequent first."""
        return dict(sorted(self._counted.items(), key=lambda item: (-item[1], item[0])))

    def write(self, path: Path) -> None:
        """Write quarantine.jsonl, sorted by id."""
        with path.open("w", encoding="utf-8") as handle:
            query = "SELECT id, reason, detail FROM quarantine ORDER BY id, reason, detail"
            for name, reason, detail in self._staging.rows(query):
                row = {"id": name, "reason": reason, "detail": detail}
                handle.write(json.dumps(row, ensure_ascii=False) + "\n")

    def check_share(self, kept: int, max_bad_share: float) -> None:
        """Raise TooMuchBadInput if the share of bad records is above the limit, DataError if nothing is left.

        Duplicates, and what occurs in a test set, do not count as bad: nothing is wrong with them.
        """
        reasons = {reason: number for reason, number in self.reasons().items() if reason not in HARMLESS}
        bad = sum(reasons.values())
        if bad and bad / (kept + bad) > max_bad_share:
            raise TooMuchBadInput(
                f"{bad} of {kept + bad} records cannot be used ({bad / (kept + bad):.1%}, and "
                f"data.limits.max_bad_share is {max_bad_share:.1%}): {self._shown(reasons)}"
            )
        if not kept:
            raise DataError("the source holds no usable image: look at data.source in the experiment")

    def _shown(self, reasons: dict[str, int]) -> str:
        parts = [
            f"{reason} ({number}, as {self._first[reason].id}: {self._first[reason].detail})"
            for reason, number in reasons.items()
        ]
        more = f"; and {len(parts) - SHOWN_REASONS} more reasons" if len(parts) > SHOWN_REASONS else ""
        return " ".join(("; ".join(parts[:SHOWN_REASONS]) + more).split())
