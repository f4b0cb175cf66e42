"""Several runs of a judge over the same answers, in one order or both: verdicts, and rows with mean and deviation.

The published figure of LLaVA-Bench is the mean of three runs of the judge with its standard deviation. A judge favours
a place: with `swap` every answer is judged twice a run, reference first and answer first, and the mean counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from tasks.evaluate.judging import Judge, Judgement, JudgeRules, judge_all
from tasks.evaluate.llava_bench import ALL, CATEGORIES, BenchQuestion, Scores
from tasks.evaluate.report import Score, rounded
from tasks.statistics import bootstrap_mean_ratio, examples_needed_ratio


@dataclass(frozen=True)
class Verdict:
    """All that a judge made of one answer: a judgement per order, per run."""

    runs: tuple[tuple[Judgement, ...], ...]

    def of_run(self, run: int) -> Scores | None:
        """The scores of one run, the mean of both orders; None where a judgement failed."""
        found = [judgement.scores for judgement in self.runs[run]]
        known = [scores for scores in found if scores is not None]
        return mean_scores(known) if len(known) == len(found) else None

    @property
    def scores(self) -> Scores | None:
        """The mean over the runs that have scores; None where none has."""
        known = [scores for run in range(len(self.runs)) if (scores := self.of_run(run)) is not None]
        return mean_scores(known) if known else None

    @property
    def judgements(self) -> tuple[Judgement, ...]:
        """Every judgement, run by run."""
        return tuple(judgement for run in self.runs for judgement in run)

    @property
    def failed(self) -> int:
        """How many judgements failed."""
        return sum(judgement.scores is None for judgement in self.judgements)

    @property
    def turned(self) -> int:
        """How many runs preferred another of the two answers when their order was swapped."""
        return sum(len(run) == 2 and _turned(run[0].scores, run[1].scores) for run in self.runs)


def orders(*, swap: bool) -> tuple[bool, ...]:
    """Whether the answer stands first, for every judgement of a run."""
    return (False, True) if swap else (False,)


def judge_runs(
    judge: Judge,
    rules: JudgeRules,
    questions: Sequence[BenchQuestion],
    answers: Sequence[str],
    runs: int,
    progress: Callable[[int], None],
    *,
    swap: bool = False,
) -> list[Verdict]:
    """Have every answer judged `runs` times. `progress` hears how many judgements are settled, over all runs."""
    done = 0
    found: list[list[list[Judgement]]] = []
    for run in range(runs):
        found.append([])
        for swapped in orders(swap=swap):

            def settled(now: int, before: int = done) -> None:
                progress(before + now)

            found[run].append(judge_all(judge, rules, questions, answers, settled, run=run, swapped=swapped))
            done += len(answers)
    return [Verdict(tuple(tuple(order[at] for order in run) for run in found)) for at in range(len(answers))]


def rows_of_runs(
    judged: Sequence[tuple[str, Verdict]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Score]:
    """100 * sum(model) / sum(reference) per category and, last, over all: the mean over runs, with its deviation.

    `judged` holds category and verdict of every answer; those without scores take no part. A row that some run has
    nothing for has no value. Intervals resample answers, for all runs alike; what the judge does differently from run
    to run is in the deviation.
    """
    known = [(category, verdict) for category, verdict in judged if verdict.scores is not None]
    there = {category for category, _ in known if category}
    order = [*(name for name in CATEGORIES if name in there), *sorted(there - set(CATEGORIES)), ALL]
    members = {row: [verdict for category, verdict in known if row in (ALL, category)] for row in order}
    return {
        row: _row(verdicts, confidence=confidence, resamples=resamples, seed=seed) for row, verdicts in members.items()
    }


def needed_note(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """One sentence if the set is too small to tell two models apart that differ by one point."""
    pairs = [scores for verdict in verdicts if (scores := verdict.scores) is not None]
    if sum(reference for reference, _ in pairs) == 0:
        return
    needed = examples_needed_ratio([model for _, model in pairs], [reference for reference, _ in pairs])
    if len(pairs) < needed:
        yield (
            f"a difference of one point to another model takes about {needed} judged answers to be seen (80 % power; "
            f"fewer where both answer the same questions); here are {len(pairs)}"
        )


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """Mean score of the reference and of the model."""
    return fmean(reference for reference, _ in scores), fmean(model for _, model in scores)


def _row(verdicts: Sequence[Verdict], *, confidence: float, resamples: int, seed: int) -> Score:
    runs = [[verdict.of_run(run) or (0.0, 0.0) for verdict in verdicts] for run in range(_runs(verdicts))]
    sums = [(sum(model for _, model in run), sum(reference for reference, _ in run)) for run in runs]
    if not runs or any(reference == 0 for _, reference in sums):
        return Score(value=None, n=len(verdicts))
    values = [model / reference for model, reference in sums]
    low, high = bootstrap_mean_ratio(
        [([model for _, model in run], [reference for reference, _ in run]) for run in runs],
        confidence=confidence, resamples=resamples, seed=seed,
    )
    return Score(
        value=rounded(fmean(values)), low=rounded(low), high=rounded(high), n=len(verdicts),
        std=rounded(stdev(values)) if len(values) > 1 else None,
    )


def _runs(verdicts: Sequence[Verdict]) -> int:
    return len(verdicts[0].runs) if verdicts else 0


def _turned(straight: Scores | None, swapped: Scores | None) -> bool:
    """Each order prefers another one; a tie prefers none."""
    if straight is None or swapped is None:
        return False
    return (straight[0] - straight[1]) * (swapped[0] - swapped[1]) < 0
