"""POPE: does a model see objects that are not there? Three subsets of yes-or-no questions, as published.

Source: Li et al. 2023; metrics and the rule `llava` from LLaVA's eval_pope.py. Yes is the positive class. The figure
that tables quote is the mean F1 over the subsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from configs.schema import PopeConfig
from tasks.errors import DataError
from tasks.evaluate.benchmark import Bootstrap, Floats, Question, Rows
from tasks.evaluate.json_files import JsonObject, named, read_lines
from tasks.evaluate.pictures import check_readable, first_there
from tasks.evaluate.rates import with_bounds
from tasks.evaluate.report import Answered, BenchmarkReport, Score
from tasks.evaluate.yes_no import (
    ALL,
    NO,
    UNPARSED,
    YES,
    YesNoRule,
    accuracies,
    answered,
    says_either,
    share,
)

NAME = "pope"
SUBSETS = ("random", "popular", "adversarial")
MEASURES = ("precision", "recall", "f1", "yes_ratio")


@dataclass(frozen=True)
class Pope:
    """The questions of one or more subsets; see `benchmark.Benchmark`."""

    questions: tuple[Question, ...]
    rule: YesNoRule
    instruction: str
    max_new_tokens: int
    bootstrap: Bootstrap
    limit: int | None = None
    name: str = NAME

    @classmethod
    def load(cls, root: Path, config: PopeConfig, bootstrap: Bootstrap) -> Pope:
        """The subsets whose files are there. Raises DataError as `read_subset` does, and if an image is not there."""
        found: list[Question] = []
        for subset in SUBSETS:
            path = root / config.annotations.replace("{subset}", subset)
            if path.is_file():
                found += read_subset(path, subset, root / config.images)[: config.limit]
        if not found:
            raise DataError(f"there is no {root / config.annotations} of any subset; set evaluate.pope.annotations")
        for image, one in {one.image: one for one in found}.items():
            check_readable(image, f"question {one.id}")
        return cls(
            tuple(found), YesNoRule(config.rule), config.instruction, config.max_new_tokens, bootstrap, config.limit
        )

    def prompt(self, question: Question) -> str:
        """The question and the instruction how to answer."""
        return f"{question.text}\n{self.instruction}" if self.instruction else question.text

    def parse(self, question: Question, text: str) -> Answered:
        """Yes or no, by the rule."""
        return answered(question, text, self.rule)

    def score(self, answers: Mapping[str, Answered], blind: Mapping[str, Answered] | None = None) -> BenchmarkReport:
        """Accuracy per subset and over all; precision, recall, F1 and the share of yes beside."""
        neither = sum(not says_either(answer.text) for answer in answers.values())
        counts = {"questions": len(answers), UNPARSED: sum(one.outcome == UNPARSED for one in answers.values())}
        notes = []
        if self.rule is YesNoRule.LLAVA and neither:
            counts["neither yes nor no"] = neither
            notes.append(f"{neither} of {len(answers)} answers say neither yes nor no; rule llava takes text for yes")
        report = BenchmarkReport(
            rows=accuracies(self.questions, answers, blind, SUBSETS, self.bootstrap.confidence),
            measures=dict(self._measures(answers)),
            rates={UNPARSED: share(UNPARSED, answers)},
            counts=counts,
            settings=self._settings(),
            notes=tuple(notes),
        )
        return with_bounds(report, len(answers), self.bootstrap.confidence)

    def _measures(self, answers: Mapping[str, Answered]) -> Iterator[tuple[str, Score]]:
        there = [subset for subset in SUBSETS if any(subset in one.groups for one in self.questions)]
        for row in (*there, ALL):
            asked = [one for one in self.questions if row in (ALL, *one.groups)]
            table = confusion(asked, answers)
            for measure in MEASURES:
                yield f"{row}/{measure}", self.bootstrap.figure(len(asked), _of_one(table, measure))
        tables = {subset: confusion(self.questions, answers, subset) for subset in there}
        of_subsets = [_of_one(table, "f1") for table in tables.values()]
        yield "mean/f1", self.bootstrap.figure(len(self.questions), _mean_of(of_subsets))

    def _settings(self) -> dict[str, JsonValue]:
        return {
            "rule": self.rule.value, "instruction": self.instruction, "limit": self.limit,
            **self.bootstrap.settings(),
        }


def read_subset(path: Path, subset: str, images: Path | None) -> list[Question]:
    """The questions of a file of annotations. `images` is None where only answers are to be scored.

    Raises DataError when a line lacks a field, a label is neither yes nor no, a question occurs twice, or an image is
    not there.
    """
    found = [_question(row, path, subset, images) for row in read_lines(path)]
    ids = [one.id for one in found]
    if twice := sorted({one for one in ids if ids.count(one) > 1} if len(set(ids)) < len(ids) else ()):
        raise DataError(f"{path} has questions twice: {named(twice)}")
    if not found:
        raise DataError(f"{path} holds no questions")
    return found


def confusion(questions: Sequence[Question], answers: Mapping[str, Answered], subset: str = "") -> Floats:
    """A row a question: true positive, false positive, false negative, said yes, counted.

    An unparsed answer is neither yes nor no: a missed object where yes is right, nothing else where no is. Questions
    outside `subset` are rows of zeros, so that several subsets can be resampled together.
    """
    table = np.zeros((len(questions), 5))
    for at, one in enumerate(questions):
        if subset and subset not in one.groups:
            continue
        said, truth = answers[one.id].choice, one.correct
        table[at] = (
            truth == YES and said == YES, truth == NO and said == YES, truth == YES and said != YES, said == YES, True
        )
    return table


def _of_one(table: Floats, measure: str) -> Callable[[Rows], Floats]:
    def statistic(rows: Rows) -> Floats:
        hit, false, missed, yes, n = np.moveaxis(table[rows].sum(axis=1), -1, 0)
        above, below = {
            "precision": (hit, hit + false),
            "recall": (hit, hit + missed),
            "f1": (2 * hit, 2 * hit + false + missed),
            "yes_ratio": (yes, n),
        }[measure]
        shares: Floats = np.divide(above, below, out=np.full(len(rows), np.nan), where=below > 0)
        return shares

    return statistic


def _mean_of(statistics: Sequence[Callable[[Rows], Floats]]) -> Callable[[Rows], Floats]:
    def statistic(rows: Rows) -> Floats:
        mean: Floats = np.mean([one(rows) for one in statistics], axis=0)
        return mean

    return statistic


def _question(row: JsonObject, path: Path, subset: str, images: Path | None) -> Question:
    missing = [name for name in ("question_id", "image", "text", "label") if row.get(name) is None]
    if missing:
        raise DataError(f"{path}: a line lacks {', '.join(missing)}, as POPE's annotations have it: {str(row)[:80]}")
    label, name = str(row["label"]).strip().lower(), f"{subset}-{row['question_id']}"
    if label not in (YES, NO):
        raise DataError(f"{path}: the label of question {name} is {row['label']!r}; it must be yes or no")
    image = Path(str(row["image"]))
    if images is not None:
        there = first_there([images / image, images / image.name.removeprefix("COCO_val2014_")])
        if there is None:
            raise DataError(f"image {images / image} of question {name} is not there; set evaluate.pope.images")
        image = there
    return Question(name, image, str(row["text"]), label, (subset,))

