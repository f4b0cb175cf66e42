"""Look at every sample of a stage before training: tokenise it once, and find out what cannot be used, and why.

Workers get the lengths with it, so that each can work out the rows of every rank without asking the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model.tokenize import IGNORE, ConversationTokenizer, Unusable
from tasks.errors import DataError
from tasks.progress import Progress
from tasks.shards import ShardReader

EVERY = 500


@dataclass(frozen=True)
class Survey:
    """Usable samples of a stage, in shard order: their numbers, tokens, and supervised tokens, one entry each."""

    numbers: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    supervised: npt.NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Write the survey for the workers."""
        with path.open("wb") as handle:
            np.savez(handle, numbers=self.numbers, lengths=self.lengths, supervised=self.supervised)

    @classmethod
    def load(cls, path: Path) -> Survey:
        """A survey that `save` wrote."""
        with np.load(path) as arrays:
            return cls(arrays["numbers"], arrays["lengths"], arrays["supervised"])


@dataclass(frozen=True)
class Findings:
    """A survey and what it found wrong: one {"key", "reason"} a quarantined or truncated sample."""

    survey: Survey
    quarantined: list[dict[str, str]]
    truncated: list[dict[str, str]]


def look_at(
    reader: ShardReader, tokenizer: ConversationTokenizer, max_length: int, batch: int, progress: Progress
) -> Findings:
    """Tokenise every sample. Raises DataError when fewer samples are usable than one step takes."""
    numbers, lengths, supervised = [], [], []
    quarantined, truncated = [], []
    keys = reader.keys()
    for number, key in enumerate(keys):
        if number % EVERY == 0:
            progress.update(number, len(keys), doing="reading samples")
        try:
            encoded = tokenizer.encode(reader.sample(number), max_length)
        except Unusable as reason:
            quarantined.append({"key": key, "reason": str(reason)})
            continue
        if encoded.dropped_turns:
            truncated.append({"key": key, "reason": f"{encoded.dropped_turns} trailing turns dropped"})
        numbers.append(number)
        lengths.append(len(encoded.ids))
        supervised.append(sum(label != IGNORE for label in encoded.labels))
    if len(numbers) < batch:
        raise DataError(
            f"{len(numbers)} usable samples are fewer than the {batch} of one step; lower the stage's batch or add data"
            + (f" ({len(quarantined)} were quarantined: {quarantined[0]['reason']})" if quarantined else "")
        )
    survey = Survey(np.array(numbers, np.int64), np.array(lengths, np.int64), np.array(supervised, np.int64))
    return Findings(survey, quarantined, truncated)
