"""What a set of conversations is like: `statistics.json`, for whoever reviews it. The same set gives the same bytes."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

from pydantic import Field

from model.records import IMAGE_TOKEN
from tasks.artifacts import Frozen
from tasks.generate.attempt import Accepted
from tasks.generate.kinds import KINDS, AskedKind
from tasks.generate.languages.base import Language

LENGTHS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500)
"""Upper edges, in words, of the bins of answers; the last bin has none."""
SHOWN = 60
"""Most frequent objects that are written down."""


class KindStatistics(Frozen):
    """Conversations of one kind."""

    samples: int = 0
    turns: int = 0
    mended: int = 0
    """Samples whose first reply was not used."""
    answer_words: tuple[int, ...] = (0,) * (len(LENGTHS) + 1)
    """Answers by their length, in the bins of `lengths`."""
    question_types: dict[str, int] = Field(default_factory=dict)
    with_unsupported: int = 0
    """Samples that speak of an object which neither captions nor boxes support."""
    unsupported: dict[str, int] = Field(default_factory=dict)
    """Such objects by category, most frequent first."""
    unsupported_total: int = 0


class Statistics(Frozen):
    """All of a set."""

    language: str
    lengths: tuple[int, ...] = LENGTHS
    """Upper edges of the bins of answers, in words."""
    kinds: dict[AskedKind, KindStatistics]
    objects: dict[str, int] = Field(default_factory=dict)
    """Samples whose answers speak of an object, by category, most frequent first."""


class _Kind:
    """Counts of one kind, while they grow."""

    def __init__(self) -> None:
        self.samples = self.turns = self.mended = self.with_unsupported = 0
        self.answer_words = [0] * (len(LENGTHS) + 1)
        self.question_types: Counter[str] = Counter()
        self.unsupported: Counter[str] = Counter()

    def done(self) -> KindStatistics:
        """The counts as they are now."""
        return KindStatistics(
            samples=self.samples, turns=self.turns, mended=self.mended, answer_words=tuple(self.answer_words),
            question_types=_most(self.question_types), with_unsupported=self.with_unsupported,
            unsupported=_most(self.unsupported), unsupported_total=self.unsupported.total(),
        )


class Counting:
    """Statistics of a set, sample by sample."""

    def __init__(self, language: Language) -> None:
        self._language = language
        self._kinds = {kind: _Kind() for kind in KINDS}
        self._objects: Counter[str] = Counter()

    def add(self, kind: AskedKind, accepted: Accepted) -> None:
        """Count one more."""
        counts, turns = self._kinds[kind], accepted.sample.conversations
        counts.samples += 1
        counts.turns += len(turns)
        counts.mended += accepted.attempts > 1
        for turn in turns:
            if turn.role == "human":
                question = turn.text.removeprefix(IMAGE_TOKEN)
                counts.question_types[self._language.question_type(question)] += 1
            else:
                counts.answer_words[bisect_left(LENGTHS, len(self._language.words(turn.text)))] += 1
        counts.with_unsupported += bool(accepted.unsupported)
        counts.unsupported.update(accepted.unsupported)
        self._objects.update(accepted.claimed)

    def done(self) -> Statistics:
        """The statistics of what was added."""
        kinds = {kind: counts.done() for kind, counts in self._kinds.items()}
        return Statistics(language=self._language.code, kinds=kinds, objects=_most(self._objects))


def _most(counted: Counter[str]) -> dict[str, int]:
    found = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return dict(found)
