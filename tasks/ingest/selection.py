"""Which of the decoded images become part of the set, and what is said of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from model.records import Box
from tasks.ingest.boxes import BadBox, normalised
from tasks.ingest.duplicates import Seen
from tasks.ingest.images import Decoded, Facts
from tasks.ingest.quarantine import Quarantine
from tasks.ingest.records import Quarantined, RawImage, Reason
from tasks.ingest.staging import Candidate, Staging
from tasks.ingest.testsets import TestImages
from tasks.ingest.writer import SetWriter

ASPECT_SLACK = 0.02
"""An image may have been resized since it was annotated, but not cut or turned: its aspect has to agree this well."""


class _LeftOut(Exception):
    """An image that does not become part of the set; `final` is the one that its samples get in its place."""

    def __init__(self, reason: Reason, detail: str, final: str | None = None) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.final = reason, detail, final


class Selection:
    """Takes decoded images in the order of their ids."""

    def __init__(
        self, staging: Staging, quarantine: Quarantine, writer: SetWriter, tested: TestImages, bits: int | None,
        withdrawn: Set[str] = frozenset(),
    ) -> None:
        self._staging, self._quarantine, self._writer, self._tested = staging, quarantine, writer, tested
        self._withdrawn = withdrawn
        self._seen = Seen(staging, "kept", bits).create()
        self.counts: Counter[str] = Counter()

    def take(self, candidate: Candidate, outcome: Decoded | Quarantined) -> None:
        """Write an image, or leave it out with its reason; either way its samples can be told."""
        self._writer.reached(candidate.raw.id)
        try:
            if isinstance(outcome, Quarantined):
                raise _LeftOut(outcome.reason, outcome.detail)
            final = self._taken(candidate, outcome)
        except _LeftOut as left:
            self._quarantine.add(Quarantined(candidate.raw.id, left.reason, left.detail))
            self._staging.place(candidate, left.final, left.reason)
        else:
            self._staging.place(candidate, final)

    def _taken(self, candidate: Candidate, decoded: Decoded) -> str:
        """The id under which an image is in the set."""
        raw, facts = candidate.raw, decoded.facts
        if facts.sha256 in self._withdrawn:
            self.counts["withdrawn"] += 1
            raise _LeftOut("withdrawn", f"sha256 {facts.sha256}; see: llavaflow forget --list")
        if where := self._tested.occurs(facts):
            self.counts["in_test_sets"] += 1
            raise _LeftOut("occurs in a test set", where)
        if self._writer.same(raw.id, facts.sha256):
            self._writer.join(candidate, _boxes(raw, facts))
            return raw.id
        if (first := self._seen.exact(facts.sha256)) is not None:
            raise _LeftOut("duplicate", f"same bytes as {first}", first)
        self._check_near(candidate, facts)
        final = self._writer.add(candidate, decoded, _boxes(raw, facts))
        self._seen.add(final, facts.sha256, facts.phash)
        return final

    def _check_near(self, candidate: Candidate, facts: Facts) -> None:
        """Leave out an image that looks like one in the set, unless samples speak of this very one.

        Diagrams and pages of text look alike to the hash and say different things: their samples would be lost, or
        wrong with the other image.
        """
        near = self._seen.near(facts.phash)
        if near is None:
            return
        if candidate.given:
            self.counts["near_duplicates_kept"] += 1
            return
        raise _LeftOut("near duplicate", f"of {near[0]}, hash differs in {near[1]} bits")


def _boxes(raw: RawImage, facts: Facts) -> tuple[Box, ...]:
    size = (facts.width, facts.height)
    if raw.size and not _same_aspect(raw.size, size):
        detail = f"annotated as {raw.size[0]:g} x {raw.size[1]:g}, is {size[0]} x {size[1]}"
        raise _LeftOut("size differs from its annotation", detail)
    try:
        return normalised(raw.boxes, raw.size or (1.0, 1.0), size)
    except BadBox as error:
        raise _LeftOut(error.reason, error.detail) from error


def _same_aspect(annotated: tuple[float, float], found: tuple[int, int]) -> bool:
    ratio = (annotated[0] / annotated[1]) / (found[0] / found[1])
    return abs(ratio - 1) <= max(ASPECT_SLACK, 1.5 / min(found))
