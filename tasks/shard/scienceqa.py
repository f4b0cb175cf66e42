"""Questions in ScienceQA's layout as instruct samples: those listed in an ImageSet, and those of a set beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, cast

from pydantic import JsonValue, TypeAdapter, ValidationError

from model.questions import Problem, PromptFormat, prompt_of, target_of
from model.records import Record, Sample
from tasks.errors import ArtifactError, DataError
from tasks.shard.samples import question_sample
from tasks.shard.table import StoredImage

SPLIT = "train"
QUESTIONS = "questions.jsonl"
FORMATS = ("jpg", "png")


class Question(Record):
    """A line of an ImageSet's questions.jsonl. `image` is the id of its AnnotatedImage."""

    id: str
    image: str | None = None
    problem: Problem


class Illustrated(NamedTuple):
    """A sample, and its image where that is no part of the ImageSet."""

    sample: Sample
    image: StoredImage | None


def listed_questions(images: Path, prompt_format: PromptFormat) -> Iterator[Sample]:
    """One sample a line of the ImageSet's questions.jsonl; none where there is no such file.

    A question whose image was left out is asked without it. Raises ArtifactError when the file cannot be read,
    DataError for an answer that is none of the choices.
    """
    path = images / QUESTIONS
    if not path.exists():
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                question = Question.model_validate_json(line)
            except ValidationError as error:
                raise ArtifactError(f"{path}, line {number}, cannot be read; run again to rebuild it") from error
            _check_answer(question.problem, f"{path}: question {question.id}")
            prompt = prompt_of(question.problem, prompt_format, with_image=question.image is not None)
            answer = target_of(question.problem, prompt_format)
            yield question_sample(f"question-{question.id}", question.image, prompt, answer)


def training_split(images: Path, prompt_format: PromptFormat) -> Iterator[Illustrated]:
    """One sample a question of the training split of benchmarks/scienceqa; none where there is no such set.

    Layout: problems.json, pid_splits.json, images/train/<pid>/<image> (or images/<pid>/<image>, as some copies have
    it). Raises DataError naming the file, or the question, that is at fault.
    """
    folder = images / "benchmarks" / "scienceqa"
    if not folder.is_dir():
        return
    problems, splits = _object(folder / "problems.json"), _object(folder / "pid_splits.json")
    for pid in _pids(splits.get(SPLIT, []), folder):
        problem = _problem(pid, problems, folder)
        name = f"scienceqa-{pid}"
        image = None if problem.image is None else _image(images, folder, pid, problem.image)
        prompt, answer = prompt_of(problem, prompt_format), target_of(problem, prompt_format)
        yield Illustrated(question_sample(name, None if image is None else name, prompt, answer), image)


def _object(path: Path) -> dict[str, JsonValue]:
    try:
        return TypeAdapter(dict[str, JsonValue]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is missing or holds no JSON object") from error


def _pids(split: JsonValue, folder: Path) -> list[str]:
    try:
        return TypeAdapter(list[str]).validate_python(split)
    except ValidationError as error:
        raise DataError(f"{folder / 'pid_splits.json'}: {SPLIT} must be a list of question ids") from error


def _problem(pid: str, problems: dict[str, JsonValue], folder: Path) -> Problem:
    try:
        problem = Problem.model_validate_json(json.dumps(problems.get(pid)))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise DataError(f"{folder / 'problems.json'}: question {pid}: {where}: {first['msg']}") from error
    _check_answer(problem, f"{folder / 'problems.json'}: question {pid}")
    return problem


def _check_answer(problem: Problem, where: str) -> None:
    if not 0 <= problem.answer < len(problem.choices):
        raise DataError(f"{where}: answer {problem.answer} is none of its choices")


def _image(images: Path, folder: Path, pid: str, name: str) -> StoredImage:
    split = folder / "images" / SPLIT / pid / name
    path = split if split.exists() else folder / "images" / pid / name
    suffix = path.suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    if suffix not in FORMATS:
        raise DataError(f"sample scienceqa-{pid}: {path} is neither .jpg nor .png")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"sample scienceqa-{pid}: its image {path} cannot be read ({error.strerror})") from error
    return StoredImage(
        id=f"scienceqa-{pid}", file=path.relative_to(images).as_posix(), start=None, size=len(data),
        format=cast("Literal['jpg', 'png']", suffix), sha256=hashlib.sha256(data).digest(),
    )
