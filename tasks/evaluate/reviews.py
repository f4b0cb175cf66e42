"""Score review files of LLaVA-Bench made elsewhere: one judgement a line, with the judge's words and its two scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from pydantic import JsonValue

from tasks.errors import ScoringError
from tasks.evaluate.json_files import JsonObject, named, read_lines
from tasks.evaluate.llava_bench import ALL, Scores, category_of, parse_scores, relative_rows, withhold
from tasks.evaluate.report import Score
from tasks.statistics import examples_needed_ratio

_STORED = ("tuple", "score")
_WORDS = ("content", "text")


@dataclass(frozen=True)
class Review:
    """One judgement of a file; `scores` is None where it failed."""

    question: str
    category: str
    scores: Scores | None


@dataclass(frozen=True)
class Reviews:
    """A file of judgements."""

    path: Path
    reviews: tuple[Review, ...]


@dataclass(frozen=True)
class ReviewScores:
    """What a file of judgements comes to."""

    path: Path
    rows: dict[str, Score]
    means: dict[str, Scores]
    """Mean score of the reference and of the model, from 1 to 10, per row."""
    failed: tuple[str, ...]
    """Questions whose judgement failed; none of them is in any row."""
    total: int
    withheld: bool
    needed: int | None = None
    """Judged answers that it would take to see a difference of one point, where there are fewer."""


def read_reviews(path: Path, reference: int = 1) -> Reviews:
    """Read a file of judgements. `reference` says which assistant is the reference, 1 as published or 2.

    Stored scores are taken as they are; where a line has none, its text is parsed. Negative scores are how the
    published scripts mark a failed judgement. Raises ScoringError when a line is no review or a question occurs twice.
    """
    rows = read_lines(path)
    if not rows:
        raise ScoringError(f"{path} holds no reviews")
    reviews = tuple(_review(row, number, path, reference) for number, row in enumerate(rows, start=1))
    times = Counter(review.question for review in reviews)
    if twice := [question for question, count in times.items() if count > 1]:
        raise ScoringError(f"{path}: questions reviewed more than once: {named(twice)}; keep one line of each")
    return Reviews(path, reviews)


def score_reviews(
    reviews: Reviews, max_failed_share: float = 0.2, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> ReviewScores:
    """Relative scores of a file. Failed judgements are left out and counted; above their share nothing is scored."""
    judged = [(review.category, review.scores) for review in reviews.reviews if review.scores is not None]
    failed = tuple(review.question for review in reviews.reviews if review.scores is None)
    rows = relative_rows(judged, confidence=confidence, resamples=resamples, seed=seed)
    withheld = len(failed) > max_failed_share * len(reviews.reviews)
    return ReviewScores(
        reviews.path,
        withhold(rows) if withheld else rows,
        {row: _means([scores for category, scores in judged if row in (ALL, category)]) for row in rows if judged},
        failed,
        len(reviews.reviews),
        withheld,
        _needed([scores for _, scores in judged]),
    )


def spread(scored: Sequence[ReviewScores]) -> dict[str, tuple[float, float | None]]:
    """Mean and standard deviation (n - 1) per row over several runs of the judge; rows that some run lacks left out.

    The deviation of a single run is None.
    """
    found: dict[str, tuple[float, float | None]] = {}
    for row in scored[0].rows if scored else ():
        values = [part.rows[row].value for part in scored if row in part.rows]
        known = [value for value in values if value is not None]
        if len(known) == len(scored):
            found[row] = fmean(known), stdev(known) if len(known) > 1 else None
    return found


def _review(row: JsonObject, number: int, path: Path, reference: int) -> Review:
    if "question_id" not in row or not any(name in row for name in (*_STORED, *_WORDS)):
        raise ScoringError(
            f"{path}: line {number} is no review: it needs question_id, and `tuple` (two scores) or `content`"
        )
    category = category_of(str(row.get("category") or ""))
    stored = next((row[name] for name in _STORED if row.get(name) is not None), None)
    scores = _words_scores(row) if stored is None else _pair(stored, number, path)
    if scores is not None and reference == 2:
        scores = scores[1], scores[0]
    return Review(str(row["question_id"]), category, scores)


def _words_scores(row: JsonObject) -> Scores | None:
    words = next((row[name] for name in _WORDS if isinstance(row.get(name), str)), "")
    return parse_scores(str(words))


def _pair(value: JsonValue, number: int, path: Path) -> Scores | None:
    numbers = [part for part in value if isinstance(part, int | float)] if isinstance(value, list) else []
    if len(numbers) != 2 or not isinstance(value, list) or len(value) != 2:
        raise ScoringError(f"{path}: line {number}: the stored scores must be two numbers, but are {value!r}")
    first, second = float(numbers[0]), float(numbers[1])
    return (first, second) if first >= 0 and second >= 0 else None


def _needed(pairs: Sequence[Scores]) -> int | None:
    if sum(reference for reference, _ in pairs) == 0:
        return None
    needed = examples_needed_ratio([model for _, model in pairs], [reference for reference, _ in pairs])
    return needed if needed > len(pairs) else None


def _means(pairs: Sequence[Scores]) -> Scores:
    return fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)
