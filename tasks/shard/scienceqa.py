"""The training split of a ScienceQA-layout set as instruct samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from model.questions import Problem, PromptFormat, prompt_of, target_of
from tasks.errors import DataError
from tasks.shard.samples import Item, Picture, question_sample

SPLIT = "train"


def question_items(folder: Path, prompt_format: PromptFormat) -> Iterator[Item]:
    """One item a question of the training split; none where there is no such set.

    Layout: problems.json, pid_splits.json, images/train/<pid>/<image> (or images/<pid>/<image>, as some copies have
    it). Raises DataError naming the file, or the question, that is at fault.
    """
    if not folder.is_dir():
        return
    problems, splits = _object(folder / "problems.json"), _object(folder / "pid_splits.json")
    for pid in _pids(splits.get(SPLIT, []), folder):
        problem = _problem(pid, problems, folder)
        name = f"scienceqa-{pid}"
        image = None if problem.image is None else _image(folder, pid, problem.image)
        prompt, answer = prompt_of(problem, prompt_format), target_of(problem, prompt_format)
        picture = None if image is None else Picture(str(image), _format(image), image.read_bytes)
        yield Item(question_sample(name, None if image is None else name, prompt, answer), picture)


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
    if not 0 <= problem.answer < len(problem.choices):
        raise DataError(f"{folder / 'problems.json'}: question {pid}: answer {problem.answer} is none of its choices")
    return problem


def _image(folder: Path, pid: str, name: str) -> Path:
    split = folder / "images" / SPLIT / pid / name
    return split if split.exists() else folder / "images" / pid / name


def _format(image: Path) -> str:
    suffix = image.suffix.lower().removeprefix(".")
    return "jpg" if suffix == "jpeg" else suffix
