"""From a ConversationSet and its ImageSet to the review of the data. Reads files by their documented fields only."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from pydantic import Field, JsonValue

from model.records import IMAGE_TOKEN, Sample
from tasks.report import words
from tasks.report.collect import lines_of, pictures_of
from tasks.report.data_review import CheckRate, DataReview, Distribution, ReviewedSample, ReviewGroup, Unsupported
from tasks.report.files import File

ACCEPTED_SHOWN, REJECTED_SHOWN = 8, 3
"""Samples of a group on the page."""
MOST_GROUPS = 24
"""Groups of rejected conversations that are shown, the largest first."""
MOST_OBJECTS = 25


class _Kind(File):
    samples: int = 0
    answer_words: tuple[int, ...] = ()
    question_types: dict[str, int] = Field(default_factory=dict)


class _Statistics(File):
    language: str = ""
    lengths: tuple[int, ...] = ()
    kinds: dict[str, _Kind] = Field(default_factory=dict)
    objects: dict[str, int] = Field(default_factory=dict)


class _Rejection(File):
    id: str
    image: str
    kind: str
    reason: str
    reply: str
    reasons: tuple[str, ...] = ()

    @property
    def group(self) -> tuple[str, str]:
        """Reason and kind."""
        return self.reason.partition(":")[0], self.kind


class _Unsupported(File):
    share: float
    mean: float
    top: dict[str, int] = Field(default_factory=dict)


class _Facts(File):
    teacher: str | None = None
    faults_by_reason: dict[str, int] = Field(default_factory=dict)
    rejected_by_reason: dict[str, int] = Field(default_factory=dict)
    unsupported_objects: dict[str, _Unsupported] = Field(default_factory=dict)
    usd_spent: float = 0.0
    usd_saved: float = 0.0
    usd_per_accepted: float = 0.0


def read_review(
    conversations: Path, images: Path, counts: Mapping[str, int], facts: Mapping[str, JsonValue], experiment: str,
    run: str, report: str | None = None,
) -> DataReview:
    """The review of a ConversationSet; `counts` and `facts` are its descriptor's. Memory does not grow with the set."""
    statistics = _statistics(conversations)
    told = _Facts.model_validate(dict(facts))
    accepted = list(_some_samples(conversations, {name: kind.samples for name, kind in statistics.kinds.items()}))
    totals = Counter(rejection.group for rejection in _rejections(conversations))
    rejected = list(_some_rejections(conversations, dict(_largest(totals))))
    pictures = pictures_of(images, {image for image in _images(accepted, rejected) if image})
    return DataReview(
        experiment=experiment, run=run, report=report, teacher=told.teacher or "", language=statistics.language,
        figures=tuple(_figures(counts, told)),
        distributions=tuple(_distributions(statistics)),
        checks=tuple(_checks(told)),
        unsupported=tuple(
            Unsupported(kind=kind, share=100 * found.share, mean=found.mean, top=tuple(found.top.items()))
            for kind, found in told.unsupported_objects.items()
        ),
        accepted=tuple(_accepted_groups(accepted, statistics, pictures)),
        rejected=tuple(_rejected_groups(rejected, totals, pictures)),
    )


def _statistics(folder: Path) -> _Statistics:
    path = folder / "statistics.json"
    return _Statistics.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else _Statistics()


def _checks(facts: _Facts) -> Iterator[CheckRate]:
    replies, rejected = facts.faults_by_reason, facts.rejected_by_reason
    for name in dict.fromkeys([*replies, *rejected]):
        yield CheckRate(name=name, replies=replies.get(name, 0), rejected=rejected.get(name, 0))


def _figures(counts: Mapping[str, int], facts: _Facts) -> Iterator[tuple[str, str]]:
    yield "Accepted", words.count(counts.get("samples", 0))
    yield "Rejected", words.count(counts.get("rejected", 0))
    yield "Mended after a fault", words.count(counts.get("mended", 0))
    yield "Asked", words.count(counts.get("asked", 0))
    yield "From the ledger", words.count(counts.get("from_ledger", 0))
    if facts.usd_spent or facts.usd_saved:
        yield "Spent", words.money(facts.usd_spent)
        yield "Saved by the ledger", words.money(facts.usd_saved)
        yield "Per sample", words.money(facts.usd_per_accepted)


def _distributions(statistics: _Statistics) -> Iterator[Distribution]:
    kinds = {name: kind for name, kind in statistics.kinds.items() if kind.samples}
    edges = [0, *statistics.lengths]
    labels = [f"{low + 1} to {high}" for low, high in pairwise(edges)] + [f"over {edges[-1]}"]
    lengths = [
        (label, {name: kind.answer_words[place] for name, kind in kinds.items() if kind.answer_words[place]})
        for place, label in enumerate(labels) if len(statistics.lengths)
    ]
    while lengths and not lengths[-1][1]:
        lengths.pop()
    if any(row for _, row in lengths):
        yield Distribution(title="Length of answers", told="Answers by their number of words.", rows=tuple(lengths))
    types: Counter[str] = Counter()
    for kind in kinds.values():
        types.update(kind.question_types)
    if types:
        rows = [
            (label, {name: kind.question_types[label] for name, kind in kinds.items() if label in kind.question_types})
            for label, _ in sorted(types.items(), key=lambda item: (-item[1], item[0]))
        ]
        yield Distribution(title="Types of questions", told="Questions by what they ask for.", rows=tuple(rows))
    if statistics.objects:
        objects = [(label, {"all": number}) for label, number in list(statistics.objects.items())[:MOST_OBJECTS]]
        told = f"Conversations whose answers speak of an object, the {len(objects)} most frequent."
        yield Distribution(title="Objects", told=told, rows=tuple(objects))


def _some_samples(folder: Path, totals: Mapping[str, int]) -> Iterator[Sample]:
    """A few samples of each kind, spread evenly over the file."""
    wanted = {kind: _spread(total, ACCEPTED_SHOWN) for kind, total in totals.items()}
    seen: Counter[str] = Counter()
    for line in lines_of(folder / "conversations.jsonl"):
        sample = Sample.model_validate_json(line)
        if seen[sample.kind] in wanted.get(sample.kind, ()):
            yield sample
        seen[sample.kind] += 1


def _rejections(folder: Path) -> Iterator[_Rejection]:
    return (_Rejection.model_validate_json(line) for line in lines_of(folder / "rejected.jsonl"))


def _some_rejections(folder: Path, totals: Mapping[tuple[str, str], int]) -> Iterator[_Rejection]:
    wanted = {group: _spread(total, REJECTED_SHOWN) for group, total in totals.items()}
    seen: Counter[tuple[str, str]] = Counter()
    for rejection in _rejections(folder):
        if seen[rejection.group] in wanted.get(rejection.group, ()):
            yield rejection
        seen[rejection.group] += 1


def _spread(total: int, shown: int) -> set[int]:
    few = min(total, shown)
    return {total * at // few for at in range(few)}


def _largest(totals: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:MOST_GROUPS]


def _images(accepted: Iterable[Sample], rejected: Iterable[_Rejection]) -> Iterator[str | None]:
    yield from (sample.image for sample in accepted)
    yield from (rejection.image for rejection in rejected)


def _accepted_groups(
    samples: Iterable[Sample], statistics: _Statistics, pictures: Mapping[str, bytes]
) -> Iterator[ReviewGroup]:
    shown: dict[str, list[ReviewedSample]] = defaultdict(list)
    for sample in samples:
        turns = tuple((turn.role, turn.text.replace(IMAGE_TOKEN, "").strip()) for turn in sample.conversations)
        shown[sample.kind].append(ReviewedSample(id=sample.id, image=pictures.get(sample.image or ""), turns=turns))
    for kind, numbers in statistics.kinds.items():
        if kind in shown:
            yield ReviewGroup(kind=kind, total=numbers.samples, shown=tuple(shown[kind]))


def _rejected_groups(
    rejections: Iterable[_Rejection], totals: Mapping[tuple[str, str], int], pictures: Mapping[str, bytes]
) -> Iterator[ReviewGroup]:
    shown: dict[tuple[str, str], list[ReviewedSample]] = defaultdict(list)
    for rejection in rejections:
        shown[rejection.group].append(
            ReviewedSample(
                id=rejection.id, image=pictures.get(rejection.image), reply=rejection.reply, reasons=rejection.reasons
            )
        )
    for (reason, kind), total in _largest(totals):
        yield ReviewGroup(kind=kind, reason=reason, total=total, shown=tuple(shown[reason, kind]))
