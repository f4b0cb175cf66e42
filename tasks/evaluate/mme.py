"""MME: perception and cognition by two yes-or-no questions an image, in the published layout.

Source: Fu et al. 2023 and the calculation.py of its evaluation tool. A task scores accuracy + accuracy+, each in
percent, where accuracy+ is the share of images with both questions right; perception is the sum over ten tasks (at most
2000), cognition over four (at most 800).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from configs.schema import MmeConfig
from tasks.errors import DataError
from tasks.evaluate.benchmark import Bootstrap, Floats, Question, Rows
from tasks.evaluate.json_files import named, read_text
from tasks.evaluate.pictures import check_readable, first_there
from tasks.evaluate.rates import with_bounds
from tasks.evaluate.report import Answered, BenchmarkReport, Score
from tasks.evaluate.yes_no import NO, RIGHT, UNPARSED, YES, YesNoRule, accuracies, answered, share

NAME = "mme"
TASKS = {
    "perception": (
        "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}
KIND = {task: kind for kind, tasks in TASKS.items() for task in tasks}
A_PAIR = 2


@dataclass(frozen=True)
class Mme:
    """The questions of the tasks that are there; see `benchmark.Benchmark`."""

    questions: tuple[Question, ...]
    instruction: str
    max_new_tokens: int
    bootstrap: Bootstrap
    limit: int | None = None
    name: str = NAME

    @classmethod
    def load(cls, root: Path, config: MmeConfig, bootstrap: Bootstrap) -> Mme:
        """The tasks whose files are there. Raises DataError as `read_task` does, and if an image is not there."""
        folder = root / config.questions
        found: list[Question] = []
        for path in task_files(folder):
            most = None if config.limit is None else A_PAIR * config.limit
            found += [question for question, _ in read_task(path, root / config.images)][:most]
        for image, one in {one.image: one for one in found}.items():
            check_readable(image, f"question {one.id}")
        return cls(tuple(found), config.instruction, config.max_new_tokens, bootstrap, config.limit)

    def prompt(self, question: Question) -> str:
        """The question; those of MME end with "Please answer yes or no."."""
        return f"{question.text}\n{self.instruction}" if self.instruction else question.text

    def parse(self, question: Question, text: str) -> Answered:
        """Yes or no, by MME's own rule."""
        return answered(question, text, YesNoRule.MME)

    def score(self, answers: Mapping[str, Answered], blind: Mapping[str, Answered] | None = None) -> BenchmarkReport:
        """Accuracy of perception, cognition and all; the tasks' accuracies as topics; accuracy+ and points beside."""
        tasks = [task for task in KIND if any(task in one.groups for one in self.questions)]
        confidence = self.bootstrap.confidence
        by_task = accuracies(self.questions, answers, blind, tasks, confidence)
        lacking = {kind: [task for task in names if task not in tasks] for kind, names in TASKS.items()}
        report = BenchmarkReport(
            rows=accuracies(self.questions, answers, blind, tuple(TASKS), confidence),
            topics={task: by_task[task] for task in tasks},
            measures=dict(self._measures(tasks, answers)),
            rates={UNPARSED: share(UNPARSED, answers)},
            counts={"questions": len(answers), UNPARSED: sum(one.outcome == UNPARSED for one in answers.values())},
            settings=self._settings(),
            notes=tuple(
                f"{kind} lacks the tasks {named(names)}: its score is not that of the whole benchmark"
                for kind, names in lacking.items()
                if names
            ),
        )
        return with_bounds(report, len(answers), confidence)

    def _measures(self, tasks: Sequence[str], answers: Mapping[str, Answered]) -> Iterator[tuple[str, Score]]:
        for row in (*TASKS, *tasks):
            own = [task for task in tasks if row in (task, KIND[task])]
            pairs = right_of_pairs([one for one in self.questions if row in one.groups], answers)
            if pairs:
                both = np.array([right == A_PAIR for right in pairs.values()], dtype=np.float64)
                yield f"{row}/acc+", self.bootstrap.figure(len(both), _mean(both))
                yield f"{row}/score", self.bootstrap.figure(len(both), points_of(own, pairs))

    def _settings(self) -> dict[str, JsonValue]:
        return {
            "rule": YesNoRule.MME.value, "instruction": self.instruction, "limit": self.limit,
            **self.bootstrap.settings(),
        }


Pairs = Mapping[tuple[str, str], int]
"""Task and image to how many of its two questions are right."""


def right_of_pairs(questions: Sequence[Question], answers: Mapping[str, Answered]) -> dict[tuple[str, str], int]:
    """Images in their order, and how many of their two questions are right."""
    found: dict[tuple[str, str], int] = {}
    for one in questions:
        key = (one.groups[-1], one.image.name)
        found[key] = found.get(key, 0) + (answers[one.id].outcome == RIGHT)
    return found


def points_of(tasks: Sequence[str], pairs: Pairs) -> Callable[[Rows], Floats]:
    """Sum over tasks of accuracy + accuracy+. Images are resampled, as their two questions are one case."""
    points = np.array([right / A_PAIR + (right == A_PAIR) for right in pairs.values()])
    member = np.array([[task == name for name in tasks] for task, _ in pairs], dtype=np.float64)

    def statistic(rows: Rows) -> Floats:
        sums, sizes = (points[:, None] * member)[rows].sum(axis=1), member[rows].sum(axis=1)
        shares: Floats = np.divide(sums, sizes, out=np.full(sums.shape, np.nan), where=sizes > 0)
        total: Floats = shares.sum(axis=1)
        return total

    return statistic


def task_files(folder: Path) -> list[Path]:
    """The files of MME's tasks in a folder. Raises DataError if there is none."""
    found = [path for task in KIND if (path := folder / f"{task}.txt").is_file()]
    if not found:
        raise DataError(f"{folder} holds no file of an MME task ({', '.join(KIND)}); each is called <task>.txt")
    return found


def read_task(path: Path, images: Path | None) -> list[tuple[Question, str | None]]:
    """The questions of a task's file, each with the answer of a model where the file has a fourth column.

    `images` is None where only answers are to be scored. Raises DataError when a line is none, an image is not there,
    or an image has not exactly two questions.
    """
    task = path.stem
    lines = [line for line in read_text(path).split("\n") if line.strip()]
    rows = [_columns(line, number, path) for number, line in enumerate(lines, 1)]
    names = [row[0] for row in rows]
    if odd := sorted({name for name in names if names.count(name) != A_PAIR}):
        raise DataError(f"{path}: MME asks two questions an image; it has more or fewer for {named(odd)}")
    found = []
    for number, (name, text, truth, said) in enumerate(rows):
        image = Path(name) if images is None else _image(images, task, name)
        found.append((Question(f"{task}-{number}", image, text, truth, (KIND[task], task)), said))
    return found


def _columns(line: str, number: int, path: Path) -> tuple[str, str, str, str | None]:
    parts = line.split("\t")
    if len(parts) not in (3, 4):
        raise DataError(
            f"{path}: line {number} has {len(parts)} columns, not image, question, answer"
            " (and a model's answer), set apart by tabs"
        )
    truth = parts[2].strip().lower()
    if truth not in (YES, NO):
        raise DataError(f"{path}: line {number}: the right answer is {parts[2]!r}; it must be Yes or No")
    return parts[0].strip(), parts[1].strip(), truth, parts[3] if len(parts) == 4 else None


def _image(images: Path, task: str, name: str) -> Path:
    found = first_there([images / task / "images" / name, images / task / name])
    if found is None:
        raise DataError(f"image {images / task / name} is not there, nor in a folder images; set evaluate.mme.images")
    return found


def _mean(values: Floats) -> Callable[[Rows], Floats]:
    def statistic(rows: Rows) -> Floats:
        mean: Floats = values[rows].mean(axis=1)
        return mean

    return statistic
