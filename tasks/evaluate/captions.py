"""Captions of photos held against their boxes: does a caption name an object that is there, or one that is not?

The matching of words and both CHAIR figures are those of Rohrbach et al. 2018, "Object Hallucination in Image
Captioning" (EMNLP), but that objects are known by the boxes alone, not by reference captions, too. An answer is right
when it names at least one object that has a box in its photo. That is easy for whoever says "a man" of everything, so
the same model without the photo stands beside it, with the paired difference, and photos without people have a row of
their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from configs.schema import CaptionsConfig
from tasks.errors import DataError
from tasks.evaluate.benchmark import Bootstrap, Floats, Question, Rows
from tasks.evaluate.json_files import read_object
from tasks.evaluate.objects import categories, named_in, words_digest
from tasks.evaluate.pictures import check_readable, first_there
from tasks.evaluate.report import Answered, BenchmarkReport, Score
from tasks.evaluate.yes_no import ALL, RIGHT, WRONG, accuracies
from tasks.statistics import mcnemar_exact

NAME = "captions"
PERSON = "person"
PEOPLE, NO_PEOPLE = "with_people", "without_people"
BESIDE = ", "


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Image(_Entry):
    id: int
    file_name: str


class _Category(_Entry):
    id: int
    name: str


class _Box(_Entry):
    image_id: int
    category_id: int


class _Instances(_Entry):
    images: tuple[_Image, ...]
    categories: tuple[_Category, ...]
    annotations: tuple[_Box, ...]


@dataclass(frozen=True)
class Captions:
    """Photos to be described; see `benchmark.Benchmark`. `correct` of a question are the categories of its boxes."""

    questions: tuple[Question, ...]
    max_new_tokens: int
    bootstrap: Bootstrap
    chosen: Mapping[str, JsonValue]
    """Which photos of the set they are."""
    name: str = NAME

    @classmethod
    def load(cls, root: Path, config: CaptionsConfig, bootstrap: Bootstrap) -> Captions:
        """The photos that have boxes, in the order of their ids, `skip` left out and `limit` taken.

        Raises DataError if the file is missing or not in COCO's layout, names categories that are not COCO's, or a
        photo is missing or unreadable.
        """
        path = root / config.instances
        photos = photos_of(path)[config.skip :][: config.limit]
        questions = [_question(root / config.images, name, there, config.prompt) for name, there in photos if there]
        if not questions:
            raise DataError(f"{path}: no photo with a box is left; lower evaluate.captions.skip")
        for one in questions:
            check_readable(one.image, f"question {one.id}")
        chosen: dict[str, JsonValue] = {
            "prompt": config.prompt, "skip": config.skip, "limit": config.limit,
            "without_boxes": len(photos) - len(questions),
        }
        return cls(tuple(questions), config.max_new_tokens, bootstrap, chosen)

    def prompt(self, question: Question) -> str:
        """The same request for every photo."""
        return question.text

    def parse(self, question: Question, text: str) -> Answered:
        """Right if one of the objects that it names is there."""
        named = [*dict.fromkeys(named_in(text))]
        there = _there(question)
        if not named:
            return Answered(text=text, outcome=WRONG, reason="names no object of COCO's categories")
        return Answered(text=text, outcome=RIGHT if there & {*named} else WRONG, choice=BESIDE.join(named))

    def score(self, answers: Mapping[str, Answered], blind: Mapping[str, Answered] | None = None) -> BenchmarkReport:
        """Share of captions that name an object that is there; CHAIR and recall of objects beside."""
        rows = accuracies(self.questions, answers, blind, (PEOPLE, NO_PEOPLE), self.bootstrap.confidence)
        silent = sum(answer.choice is None for answer in answers.values())
        return BenchmarkReport(
            # No choices, so no guess among them.
            rows={name: score.model_copy(update={"random": None}) for name, score in rows.items()},
            measures=dict(self._measures(answers, blind)),
            counts={"questions": len(answers), "naming nothing": silent},
            settings={**self.chosen, "objects_digest": words_digest(), **self.bootstrap.settings()},
            notes=() if blind is None else (self._note(answers, blind),),
        )

    def _measures(
        self, answers: Mapping[str, Answered], blind: Mapping[str, Answered] | None
    ) -> Iterator[tuple[str, Score]]:
        table = _table(self.questions, answers)
        for name, statistic in _STATISTICS.items():
            yield f"{ALL}/{name}", self.bootstrap.figure(len(table), statistic(table))
        often = Counter(category for one in self.questions for category in sorted(_there(one))).most_common(1)[0][0]
        constant = np.array([float(often in _there(one)) for one in self.questions])
        # Whoever names the most frequent object of every photo reaches this; below it nothing is shown to be seen.
        yield f"{ALL}/always_{often.replace(' ', '_')}", self.bootstrap.figure(len(constant), _mean(constant))
        if blind is not None:
            other = _table(self.questions, blind)
            for name, statistic in _STATISTICS.items():
                yield f"blind/{name}", self.bootstrap.figure(len(other), statistic(other))
            for row, kept in self._members():
                pair = table[kept][:, 0] - other[kept][:, 0]
                yield f"{row}/sighted_less_blind", self.bootstrap.figure(len(pair), _mean(pair))

    def _members(self) -> Iterator[tuple[str, list[int]]]:
        for row in (PEOPLE, NO_PEOPLE, ALL):
            if members := [at for at, one in enumerate(self.questions) if row in (ALL, *one.groups)]:
                yield row, members

    def _note(self, answers: Mapping[str, Answered], blind: Mapping[str, Answered]) -> str:
        """Whether the photo helps, by McNemar's test."""
        pairs = [(answers[one.id].outcome == RIGHT, blind[one.id].outcome == RIGHT) for one in self.questions]
        gained, lost = pairs.count((True, False)), pairs.count((False, True))
        return (
            f"with the photo {gained} captions name an object that is there where the blind answer does not, and "
            f"{lost} the other way round (McNemar, exact: p = {mcnemar_exact(gained, lost):.2g})"
        )


def photos_of(path: Path) -> list[tuple[str, frozenset[str]]]:
    """File name and categories of the boxes of every photo of a COCO instances file, by id.

    Raises DataError if it is missing, of another layout, or has categories that the list of words does not know.
    """
    try:
        read = _Instances.model_validate(read_object(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path} is not COCO's instances file ({where}: {first['msg']})") from error
    names = {category.id: category.name for category in read.categories}
    if unknown := sorted({*names.values()} - categories()):
        raise DataError(f"{path} has categories that are not COCO's: {', '.join(unknown[:5])}; their names are unknown")
    found: dict[int, set[str]] = {image.id: set() for image in read.images}
    for box in read.annotations:
        if box.image_id in found and box.category_id in names:
            found[box.image_id].add(names[box.category_id])
    files = {image.id: image.file_name for image in read.images}
    return [(files[number], frozenset(found[number])) for number in sorted(files)]


def _question(folder: Path, name: str, there: frozenset[str], prompt: str) -> Question:
    path = first_there([folder / name])
    if path is None:
        raise DataError(f"image {folder / name} is not there; set evaluate.captions.images")
    group = PEOPLE if PERSON in there else NO_PEOPLE
    return Question(Path(name).stem, path, prompt, BESIDE.join(sorted(there)), (group,))


def _there(question: Question) -> set[str]:
    return {*question.correct.split(BESIDE)}


def _table(questions: Sequence[Question], answers: Mapping[str, Answered]) -> Floats:
    """A row a photo: names one that is there, one that is not; mentions in all, of what is not there; objects there,
    and how many of them are named."""
    table = np.zeros((len(questions), 6))
    for at, one in enumerate(questions):
        said, there = named_in(answers[one.id].text), _there(one)
        false = sum(category not in there for category in said)
        table[at] = (bool(there & {*said}), false > 0, len(said), false, len(there), len(there & {*said}))
    return table


def _share(above: int, below: int | None) -> Callable[[Floats], Callable[[Rows], Floats]]:
    """One column over another one, or over the photos."""

    def of(table: Floats) -> Callable[[Rows], Floats]:
        def statistic(rows: Rows) -> Floats:
            sums = table[rows].sum(axis=1)
            whole = np.full(len(rows), float(rows.shape[1])) if below is None else sums[:, below]
            shares: Floats = np.divide(sums[:, above], whole, out=np.full(len(rows), np.nan), where=whole > 0)
            return shares

        return statistic

    return of


def _mean(values: Floats) -> Callable[[Rows], Floats]:
    def statistic(rows: Rows) -> Floats:
        means: Floats = values[rows].mean(axis=1)
        return means

    return statistic


_STATISTICS = {"chair_s": _share(1, None), "chair_i": _share(3, 2), "recall": _share(5, 4)}
"""chair_s: captions that name an object that is not there; chair_i: mentions of such; recall: objects there that are
named."""
