"""Prediction files made elsewhere, in every layout in which ScienceQA answers are published.

    results JSON     {"results": {pid: index}, "outputs": {pid: text}, ...}   LLaVA, ScienceQA repository
    output JSON      {"correct": [row, ...], "incorrect": [row, ...]}         LLaVA's eval_science_qa.py
    answers JSONL    {"question_id": pid, "text": ...} a line                 LLaVA's model_vqa_science.py
    map              {pid: text or index}
    list             [text or index, ...] in the order of the split; or rows; or a .txt file, one answer a line

A file may hold texts, stored choices (-1 where its maker found none), or both. What cannot be scored is an error that
names the file and the remedy; nothing is guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from model.questions import LETTERS
from tasks.errors import DataError, ScoringError
from tasks.evaluate.json_files import DuplicateKey, JsonObject, named, parse_json, parse_lines, read_text
from tasks.evaluate.scienceqa import Problems

NOT_PARSED = -1
_IDS = ("question_id", "pid", "qid", "id")
_TEXTS = ("text", "pred", "output", "prediction", "response")
_STORED = ("parsed_ans", "choice", "pred_idx")
_PROMPTS = ("prompt", "question")
_OTHER_BENCHMARK = ("tuple", "answer1_id", "answer2_id")


@dataclass
class Predictions:
    """What a file holds, by pid."""

    path: Path
    texts: dict[str, str] = field(default_factory=dict)
    stored: dict[str, int] = field(default_factory=dict)
    """Index of the choice that the file's maker read from the text; NOT_PARSED where there was none."""
    prompts: dict[str, str] = field(default_factory=dict)

    @property
    def pids(self) -> dict[str, None]:
        """Every pid with a prediction, in the order of the file."""
        return dict.fromkeys([*self.texts, *self.stored])


def read_predictions(path: Path, order: Sequence[str]) -> Predictions:
    """Read a file of predictions; `order` are the pids of the split, which a plain list follows.

    Raises ScoringError, or DataError where the file is no JSON at all.
    """
    text = read_text(path)
    if path.suffix == ".txt":
        return _from_list(path, [line.rstrip("\r") for line in text.rstrip("\n").split("\n")], order)
    try:
        value = parse_json(text)
    except DuplicateKey as error:
        raise ScoringError(f"{path}: {error}") from error
    except ValueError as error:
        if "Extra data" not in str(error):
            raise ScoringError(f"{path} cannot be read as JSON: {error}") from error
        return _from_rows(path, parse_lines(text, path))
    if isinstance(value, list):
        rows = [item for item in value if isinstance(item, dict)]
        return _from_rows(path, rows) if rows and len(rows) == len(value) else _from_list(path, value, order)
    if isinstance(value, dict):
        return _from_object(path, value)
    raise ScoringError(f"{path} holds a {type(value).__name__}; expected predictions by pid or a list of them")


def check_benchmark(predictions: Predictions, problems: Problems, split: str) -> None:
    """Raise ScoringError if a file is evidently not about these questions.

    That is when less than half of its ids are questions of the split though it does not cover the split, or when the
    prompts that it quotes do not hold the questions. Many benchmarks number their questions, so ids alone may agree.
    """
    pids = predictions.pids
    if not pids:
        raise ScoringError(f"{predictions.path} holds no predictions")
    known = [pid for pid in pids if pid in problems]
    if len(known) < len(problems) and 2 * len(known) < len(pids):
        raise ScoringError(
            f"{predictions.path}: only {len(known)} of its {len(pids)} ids are questions of split '{split}'; "
            "is it of another benchmark, or of another split (--split)?"
        )
    quoted = [pid for pid in known if pid in predictions.prompts]
    foreign = [pid for pid in quoted if not _holds(predictions.prompts[pid], problems[pid].question)]
    if 2 * len(foreign) > len(quoted):
        raise ScoringError(
            f"{predictions.path}: the prompts of {len(foreign)} of {len(quoted)} predictions do not hold the question "
            f"of their id ({named(foreign)}); it is of another benchmark"
        )


def _holds(prompt: str, question: str) -> bool:
    """White space aside, which every conversion treats its own way."""
    return "".join(question.split()) in "".join(prompt.split())


# ---------------------------------------------------------------------------------------------------- layouts


def _from_object(path: Path, value: JsonObject) -> Predictions:
    if isinstance(value.get("correct"), list) and isinstance(value.get("incorrect"), list):
        return _from_rows(path, [*_objects(path, value["correct"]), *_objects(path, value["incorrect"])])
    results, outputs = value.get("results"), value.get("outputs")
    if isinstance(results, dict) or isinstance(outputs, dict):
        return Predictions(
            path,
            texts={pid: _text(path, pid, text) for pid, text in _mapping(outputs).items()},
            stored={pid: _stored(path, pid, choice) for pid, choice in _mapping(results).items()},
        )
    if "acc" in value and "count" in value:
        raise ScoringError(
            f"{path} is a summary without predictions (it says {value.get('correct')} of {value['count']} right); "
            "give the file with the answers"
        )
    if _first(value, _IDS) is not None:
        return _from_rows(path, [value])
    return _from_map(path, value)


def _from_map(path: Path, value: JsonObject) -> Predictions:
    found = Predictions(path)
    for pid, answer in value.items():
        if isinstance(answer, int) and not isinstance(answer, bool):
            found.stored[pid] = _stored(path, pid, answer)
        else:
            found.texts[pid] = _text(path, pid, answer)
    return found


def _from_list(path: Path, answers: Sequence[JsonValue], order: Sequence[str]) -> Predictions:
    if len(answers) != len(order):
        raise ScoringError(
            f"{path} lists {len(answers)} answers, but the split has {len(order)} questions; a plain list must hold "
            "one for each, in the order of the split (or use a map from pid to text)"
        )
    return _from_map(path, dict(zip(order, answers, strict=True)))


def _from_rows(path: Path, rows: Sequence[JsonObject]) -> Predictions:
    found, times = Predictions(path), Counter[str]()
    for number, row in enumerate(rows, start=1):
        if any(name in row for name in _OTHER_BENCHMARK):
            raise ScoringError(f"{path} holds reviews of LLaVA-Bench; use `llavaflow score llava-bench`")
        pid = _first(row, _IDS)
        if not isinstance(pid, str | int) or isinstance(pid, bool):
            raise ScoringError(f"{path}: row {number} names no question (one of {', '.join(_IDS)})")
        times[str(pid)] += 1
        _add_row(found, str(pid), row)
    if twice := [pid for pid, count in times.items() if count > 1]:
        raise ScoringError(f"{path}: {len(twice)} pid(s) occur more than once: {named(twice)}; keep one row of each")
    return found


def _add_row(found: Predictions, pid: str, row: JsonObject) -> None:
    text, stored, prompt = _first(row, _TEXTS), _first(row, _STORED), _first(row, _PROMPTS)
    if not any(name in row for name in (*_TEXTS, *_STORED)):
        raise ScoringError(f"{found.path}: the row of pid {pid} has no answer (one of {', '.join(_TEXTS)})")
    if any(name in row for name in _TEXTS):
        found.texts[pid] = _text(found.path, pid, text)
    if stored is not None:
        found.stored[pid] = _stored(found.path, pid, stored)
    if isinstance(prompt, str):
        found.prompts[pid] = prompt


# ---------------------------------------------------------------------------------------------------- values


def _text(path: Path, pid: str, value: JsonValue) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise ScoringError(f"{path}: the answer of pid {pid} must be text, but is a {type(value).__name__}")


def _stored(path: Path, pid: str, value: JsonValue) -> int:
    """An index, as a number or in digits, or a letter; FAILED is LLaVA's word for none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if value is None or value == "FAILED":
        return NOT_PARSED
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        return int(value)
    if isinstance(value, str) and len(value) == 1 and value.isupper():
        return LETTERS.index(value) if value in LETTERS else len(LETTERS)
    raise ScoringError(f"{path}: the stored choice of pid {pid} must be an index, but is {value!r}")


def _first(row: Mapping[str, JsonValue], names: Sequence[str]) -> JsonValue:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _mapping(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _objects(path: Path, value: JsonValue) -> list[JsonObject]:
    if not isinstance(value, list):
        return []
    rows = [row for row in value if isinstance(row, dict)]
    if len(rows) < len(value):
        raise DataError(f"{path}: every entry of `correct` and `incorrect` must be an object")
    return rows
