"""ScienceQA: its questions in the official layout, the official breakdown, and outcomes counted into rows.

Source of the breakdown: tools/evaluate_acc.py of the ScienceQA repository. TXT is a question with a hint, IMG one with
an image, NO one with neither; TXT and IMG overlap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue, ValidationError

from model.questions import LETTERS, Problem
from tasks.errors import DataError
from tasks.evaluate.extraction import Parsed
from tasks.evaluate.json_files import JsonObject, named, read_object
from tasks.evaluate.report import Score, rounded
from tasks.statistics import exact_interval

Problems = Mapping[str, Problem]
"""Questions by pid, in the order of their split."""

AVG = "avg"
COLUMNS = {
    "nat": "NAT", "soc": "SOC", "lan": "LAN", "txt": "TXT", "img": "IMG", "no": "NO",
    "g1-6": "G1-6", "g7-12": "G7-12", AVG: "Avg",
}
"""Rows of the official breakdown, and how the paper heads them."""
UNSEEN_PAIR = "unseen_pair"
UNSEEN_SKILL = "unseen pair"
"""Skill of questions about shape-colour pairs that were held out of training; a row of their own."""

TEST_SIZES = {
    "nat": (2252,), "soc": (889,), "lan": (1100,), "txt": (2045, 2046), "img": (2017,), "no": (1435,),
    "g1-6": (2724,), "g7-12": (1517,), AVG: (4241,),
}
"""Sizes of the official test split. TXT: 2045 fits the published tables, 2046 the questions LLaVA was asked."""

_SUBJECTS = {"natural science": "nat", "social science": "soc", "language science": "lan"}


class Outcome(StrEnum):
    """What became of a question. Only RIGHT scores; the last two are told apart from a wrong choice."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    MISSING = "missing"


class Marked(NamedTuple):
    """An answer beside the truth: the choice that was read, if any, and why there is none."""

    outcome: Outcome
    choice: int | None = None
    reason: str = ""


def mark(problem: Problem, parsed: Parsed) -> Marked:
    """Compare a parsed answer with the truth."""
    if parsed.choice is None:
        return Marked(Outcome.UNPARSED, None, parsed.reason)
    return Marked(Outcome.RIGHT if parsed.choice == problem.answer else Outcome.WRONG, parsed.choice)


# ---------------------------------------------------------------------------------------------------- reading


def load_problems(path: Path) -> dict[str, Problem]:
    """problems.json, or a folder that holds one. Fields this project does not know are dropped.

    Raises DataError naming the pid and what is wrong with it.
    """
    path = path / "problems.json" if path.is_dir() else path
    return {pid: _problem(pid, record, path) for pid, record in read_object(path).items()}


def load_split(problems_file: Path, splits_file: Path | None, split: str) -> dict[str, Problem]:
    """The questions of a split, in the order of pid_splits.json, or without one by the `split` of each question.

    Raises DataError if there is no such split or it names questions that problems.json lacks.
    """
    problems = load_problems(problems_file)
    if splits_file is None:
        chosen = {pid: problem for pid, problem in problems.items() if problem.split == split}
        if not chosen:
            there = sorted({problem.split or "unnamed" for problem in problems.values()})
            raise DataError(
                f"{problems_file} has no questions of split '{split}' (it has: {', '.join(there) or 'none at all'}); "
                "give the file of splits, or another split"
            )
        return chosen
    pids = _split_pids(splits_file, split)
    if absent := [pid for pid in pids if pid not in problems]:
        raise DataError(
            f"{problems_file} lacks {len(absent)} of the {len(pids)} questions that {splits_file.name} names for split "
            f"'{split}': {named(absent)}"
        )
    return {pid: problems[pid] for pid in pids}


def _split_pids(path: Path, split: str) -> list[str]:
    splits = read_object(path)
    pids = splits.get(split)
    if not isinstance(pids, list) or not pids:
        raise DataError(f"{path} has no split '{split}'; it has: {', '.join(sorted(splits)) or 'none'}")
    names = [str(pid) for pid in pids]
    if len(set(names)) < len(names):
        twice = sorted({pid for pid in names if names.count(pid) > 1})
        raise DataError(f"{path} names questions of split '{split}' twice: {named(twice)}")
    return names


def _problem(pid: str, record: JsonValue, path: Path) -> Problem:
    if not isinstance(record, dict):
        raise DataError(f"{path}: question {pid} must be an object, but is a {type(record).__name__}")
    known: JsonObject = {
        name: value for name, value in record.items() if name in Problem.model_fields and value is not None
    }
    try:
        problem = Problem.model_validate(known)
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: question {pid}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if not 2 <= len(problem.choices) <= len(LETTERS):
        raise DataError(f"{path}: question {pid} has {len(problem.choices)} choices; 2 to {len(LETTERS)} are possible")
    if not 0 <= problem.answer < len(problem.choices):
        raise DataError(f"{path}: question {pid}: answer {problem.answer} is none of {len(problem.choices)} choices")
    return problem


# ---------------------------------------------------------------------------------------------------- groups


def groups_of(problem: Problem) -> tuple[str, ...]:
    """The rows of the breakdown that a question counts in, the whole set aside."""
    grade = problem.grade.removeprefix("grade")
    by_context = (["txt"] if problem.hint else []) + (["img"] if problem.image else [])
    found = [_SUBJECTS.get(problem.subject), *(by_context or ["no"])]
    if grade.isdigit() and 1 <= int(grade) <= 12:
        found.append("g1-6" if int(grade) <= 6 else "g7-12")
    if problem.skill == UNSEEN_SKILL:
        found.append(UNSEEN_PAIR)
    return tuple(group for group in found if group)


def is_test_split(problems: Problems) -> bool:
    """True if these are as many questions as the official test split has."""
    return len(problems) == TEST_SIZES[AVG][0]


def size_differences(problems: Problems) -> list[str]:
    """What of a full test split is not of the published size; empty for any other set of questions.

    Figures of a test split that differs in its subsets cannot stand beside published ones.
    """
    if not is_test_split(problems):
        return []
    sizes = {name: len(pids) for name, pids in _members(problems, groups_of).items()}
    return [
        f"{COLUMNS[name]} has {sizes.get(name, 0)} questions, published are {expected[0]}"
        for name, expected in TEST_SIZES.items()
        if name != AVG and sizes.get(name, 0) not in expected
    ]


# ---------------------------------------------------------------------------------------------------- rows


def breakdown(
    problems: Problems,
    sighted: Mapping[str, Marked],
    blind: Mapping[str, Marked] | None = None,
    confidence: float = 0.95,
) -> dict[str, Score]:
    """Accuracy per row of the official breakdown, empty rows left out, in the order of the paper, whole set last.

    Unparsed and missing answers are not right. Intervals are exact (Clopper-Pearson).
    """
    members = _members(problems, groups_of) | {AVG: list(problems)}
    order = [name for name in (*(column for column in COLUMNS if column != AVG), UNSEEN_PAIR, AVG) if members.get(name)]
    return {name: _accuracy(problems, members[name], sighted, blind, confidence) for name in order}


def topics(
    problems: Problems,
    sighted: Mapping[str, Marked],
    blind: Mapping[str, Marked] | None = None,
    confidence: float = 0.95,
) -> dict[str, Score]:
    """Accuracy per topic (26 in the official set); questions without one are left out."""
    members = _members(problems, lambda problem: (problem.topic,) if problem.topic else ())
    return {name: _accuracy(problems, members[name], sighted, blind, confidence) for name in sorted(members)}


def share_of(outcome: Outcome, marked: Mapping[str, Marked]) -> float:
    """How many of the questions had an outcome, in percent."""
    count = sum(answer.outcome is outcome for answer in marked.values())
    return rounded(count / len(marked)) if marked else 0.0


def _members(problems: Problems, rows: Callable[[Problem], Sequence[str]]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = defaultdict(list)
    for pid, problem in problems.items():
        for row in rows(problem):
            members[row].append(pid)
    return dict(members)


def _accuracy(
    problems: Problems,
    pids: Sequence[str],
    sighted: Mapping[str, Marked],
    blind: Mapping[str, Marked] | None,
    confidence: float,
) -> Score:
    right = _right(pids, sighted)
    low, high = exact_interval(right, len(pids), confidence)
    chance = sum(1 / len(problems[pid].choices) for pid in pids) / len(pids)
    score = Score(
        value=rounded(right / len(pids)), low=rounded(low), high=rounded(high), n=len(pids), right=right,
        random=rounded(chance),
    )
    if blind is None:
        return score
    blind_right = _right(pids, blind)
    low, high = exact_interval(blind_right, len(pids), confidence)
    return score.model_copy(
        update={"blind": rounded(blind_right / len(pids)), "blind_low": rounded(low), "blind_high": rounded(high)}
    )


def _right(pids: Sequence[str], marked: Mapping[str, Marked]) -> int:
    return sum(marked[pid].outcome is Outcome.RIGHT for pid in pids)
