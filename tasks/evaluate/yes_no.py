"""Yes or no: how a text is read by each published rule, and accuracies of answers that are right or wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

from tasks.evaluate.benchmark import Question
from tasks.evaluate.report import Answered, Score, rounded
from tasks.statistics import exact_interval

YES, NO = "yes", "no"
ALL = "all"
RIGHT, WRONG, UNPARSED, MISSING = "right", "wrong", "unparsed", "missing"
NO_ANSWER = "missing"


class YesNoRule(StrEnum):
    """Name of a rule; part of every result."""

    LLAVA = "llava"
    """LLaVA's eval_pope.py: whatever does not say no in its first sentence is a yes."""
    STRICT = "strict"
    """One of both words must occur as a whole word in the first sentence, and the other must not."""
    MME = "mme"
    """MME's calculation.py: the answer is yes or no, or one of both stands within its first four letters."""


def read_yes_no(text: str, rule: YesNoRule) -> str | None:
    """yes, no, or None where the rule finds neither."""
    return _READERS[rule](text)


def says_either(text: str) -> bool:
    """Whether one of both words occurs at all; under the rule `llava` a text without them counts as yes."""
    return bool(set(re.findall(r"[a-z]+", text.lower())) & {YES, NO, "not"})


def answered(question: Question, text: str, rule: YesNoRule) -> Answered:
    """An answer beside the truth."""
    found = read_yes_no(text, rule)
    if found is None:
        reason = "no answer found" if text.strip() else "empty"
        return Answered(text=text, outcome=UNPARSED, reason=reason)
    return Answered(text=text, outcome=RIGHT if found == question.correct else WRONG, choice=found)


def accuracies(
    questions: Sequence[Question],
    answers: Mapping[str, Answered],
    blind: Mapping[str, Answered] | None,
    rows: Sequence[str],
    confidence: float,
) -> dict[str, Score]:
    """Accuracy with exact intervals per row that has questions, the whole set last. A guess is right half the time."""
    members = {row: [one for one in questions if row in (ALL, *one.groups)] for row in (*rows, ALL)}
    return {row: _accuracy(asked, answers, blind, confidence) for row, asked in members.items() if asked}


def share(outcome: str, answers: Mapping[str, Answered]) -> float:
    """How many of the answers had an outcome, in percent."""
    return rounded(sum(answer.outcome == outcome for answer in answers.values()) / len(answers)) if answers else 0.0


def _accuracy(
    questions: Sequence[Question],
    answers: Mapping[str, Answered],
    blind: Mapping[str, Answered] | None,
    confidence: float,
) -> Score:
    right, n = _right(questions, answers), len(questions)
    low, high = exact_interval(right, n, confidence)
    score = Score(value=rounded(right / n), low=rounded(low), high=rounded(high), n=n, right=right, random=50.0)
    if blind is None:
        return score
    unseen = _right(questions, blind)
    low, high = exact_interval(unseen, n, confidence)
    return score.model_copy(
        update={"blind": rounded(unseen / n), "blind_low": rounded(low), "blind_high": rounded(high)}
    )


def _right(questions: Sequence[Question], answers: Mapping[str, Answered]) -> int:
    return sum(answers[one.id].outcome == RIGHT for one in questions)


def _llava(text: str) -> str | None:
    if not text.strip():
        # The published script takes nothing for a yes; here it is an outcome of its own.
        return None
    words = text.split(".")[0].replace(",", "").split(" ")
    return NO if {"No", "not", "no"} & set(words) else YES


def _strict(text: str) -> str | None:
    words = set(re.findall(r"[a-z]+", text.split(".")[0].lower())) & {YES, NO}
    return words.pop() if len(words) == 1 else None


def _mme(text: str) -> str | None:
    said = text.strip().lower()[:4]
    return YES if YES in said else NO if NO in said else None


_READERS: dict[YesNoRule, Callable[[str], str | None]] = {
    YesNoRule.LLAVA: _llava, YesNoRule.STRICT: _strict, YesNoRule.MME: _mme,
}
