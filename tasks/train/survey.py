"""Look at every sample of a stage before training: tokenise it once, and find out what cannot be used, and why.

Workers get the lengths with it, so that each can work out the rows of every rank without asking the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from configs.schema import TrainConfig
from model.records import Sample
from model.tokenize import IGNORE, ConversationTokenizer, Unusable
from tasks.errors import DataError, TooMuchBadInput
from tasks.progress import Progress

EVERY = 500


class Reader(Protocol):
    """Samples by number."""

    def keys(self) -> list[str]:
        """Their keys, in the order of their numbers."""

    def sample(self, number: int) -> Sample:
        """One of them."""


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

    @property
    def lines(self) -> list[dict[str, str]]:
        """All that was found wrong, with its outcome."""
        return [
            *({**line, "outcome": "quarantined"} for line in self.quarantined),
            *({**line, "outcome": "truncated"} for line in self.truncated),
        ]


def look_at(
    reader: Reader, tokenizer: ConversationTokenizer, max_length: int, progress: Progress, every: int = 1
) -> Findings:
    """Tokenise every sample; with `every`, the first of each so many alone."""
    numbers, lengths, supervised = [], [], []
    quarantined, truncated = [], []
    keys = reader.keys()
    for number in range(0, len(keys), every):
        key = keys[number]
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
    survey = Survey(np.array(numbers, np.int64), np.array(lengths, np.int64), np.array(supervised, np.int64))
    return Findings(survey, quarantined, truncated)


def too_many(found: Findings, train: TrainConfig) -> str | None:
    """What passes the experiment's limits, with counts and the remedy; None if nothing does."""
    samples = len(found.survey.numbers) + len(found.quarantined)
    checked = (
        (
            "quarantined", found.quarantined, train.max_quarantined_share,
            "mend them, or raise train.max_quarantined_share",
        ),
        (
            "truncated", found.truncated, train.max_truncated_share,
            "raise the stage's max_length, or train.max_truncated_share",
        ),
    )
    for outcome, lines, limit, remedy in checked:
        if len(lines) > limit * samples:
            return (
                f"{len(lines)} of {samples} samples are {outcome}, more than {limit:.1%} "
                f"(the first: {lines[0]['key']}, {lines[0]['reason']}); {remedy}"
            )
    return None


def check(found: Findings, train: TrainConfig, batch: int, listed: Path) -> None:
    """Raise TooMuchBadInput where too many samples suffer, DataError where fewer are usable than one step takes.

    `listed` is the file that names every sample with its reason.
    """
    if wrong := too_many(found, train):
        raise TooMuchBadInput(f"{wrong}; all are listed in {listed}")
    usable = len(found.survey.numbers)
    if usable < batch:
        raise DataError(
            f"{usable} usable samples are fewer than the {batch} of one step; lower the stage's batch or add data"
            + (f" ({len(found.quarantined)} were quarantined: {found.quarantined[0]['reason']})"
               if found.quarantined else "")
        )


def check_sources(found: Findings, train: TrainConfig, names: Iterable[str], usable: Sequence[int]) -> None:
    """Raise TooMuchBadInput naming a source of a mixture of whose samples too many suffer, however few they are beside
    those of the others: it does not fit the stage's template, or the model's images. `usable` samples each.
    """
    for name, number in zip(names, usable, strict=True):
        of_it = Findings(
            Survey(*[np.zeros(number, np.int64)] * 3),
            [line for line in found.quarantined if line["key"].startswith(f"{name}/")],
            [line for line in found.truncated if line["key"].startswith(f"{name}/")],
        )
        if name and (wrong := too_many(of_it, train)):
            raise TooMuchBadInput(f"source {name} of the mixture does not fit this stage: {wrong}; or leave it out")
