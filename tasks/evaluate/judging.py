"""Put answers before a judge: which rules it is given, what it is asked, and what is done when it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.artifacts import digest_of
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import DataError
from tasks.evaluate.json_files import read_object, read_text
from tasks.evaluate.llava_bench import CATEGORIES, BenchQuestion, Scores, judge_prompt, parse_scores

OWN_RULES = Path(__file__).resolve().parent / "rules"
MAX_ATTEMPTS = 3


class Judge(Protocol):
    """Whoever answers the judge's requests: a chat client with its ledger, the scripted judge, or a fake."""

    def __call__(self, requests: Sequence[Sequence[Message]], attempt: int) -> Sequence[Reply | Failure]:
        """One outcome a request, in order. `attempt` counts from 1 and belongs to what is asked: the second time
        must not be served the answer of the first."""


@dataclass(frozen=True)
class JudgeRules:
    """What the judge is told, and the digest that tells two versions of it apart."""

    system: str
    with_boxes: Mapping[str, str]
    """Category to rule, where the context has captions and boxes."""
    without_boxes: Mapping[str, str]
    """The same where it is a description only."""
    role: str
    source: str
    digest: str

    def messages(self, question: BenchQuestion, answer: str, *, swapped: bool = False) -> tuple[Message, ...]:
        """The request that has one answer judged."""
        rules = self.without_boxes if question.context.boxes is None else self.with_boxes
        prompt = judge_prompt(question, answer, rules[question.category], self.role, swapped=swapped)
        return Message("system", self.system), Message("user", prompt)


def load_rules(file: Path | None = None) -> JudgeRules:
    """The project's own rules, or an official rule.json (keys conv, detail, complex, and the same as llava_bench_*).

    Raises DataError if a rule is missing.
    """
    system = _line(OWN_RULES / "system.txt")
    if file is None:
        own = {category: _line(OWN_RULES / f"{category}.txt") for category in CATEGORIES}
        return _rules(system, own, own, "Assistant", "own")
    table = read_object(file)
    boxes = {category: _official(table, (category, f"llava_bench_{category}"), file) for category in CATEGORIES}
    plain = {category: _official(table, (f"llava_bench_{category}", category), file) for category in CATEGORIES}
    roles = {role for _, role in [*boxes.values(), *plain.values()]}
    if len(roles) != 1:
        raise DataError(f"{file}: the rules name different roles ({', '.join(sorted(roles))}); one is needed")
    with_boxes = {category: prompt for category, (prompt, _) in boxes.items()}
    without = {category: prompt for category, (prompt, _) in plain.items()}
    return _rules(system, with_boxes, without, roles.pop(), file.name)


@dataclass(frozen=True)
class Judgement:
    """What a judge made of an answer: scores, or None and why, its words, and how often it was asked."""

    scores: Scores | None
    words: str
    attempts: int
    failure: str = ""
    served: str = ""
    """The model and version that the endpoint says judged."""
    answered: float | None = None
    """When, in seconds since the epoch, as the ledger has it; None where the judge has none."""


def judge_all(
    judge: Judge,
    rules: JudgeRules,
    questions: Sequence[BenchQuestion],
    answers: Sequence[str],
    progress: Callable[[int], None],
    max_attempts: int = MAX_ATTEMPTS,
    *,
    run: int = 0,
    swapped: bool = False,
) -> list[Judgement]:
    """Have every answer judged. What fails or does not parse is asked again, and in the end counted as failed.

    `progress` hears how many judgements are settled after each round. `run` counts from 0: a further run of the judge
    asks the same again, as further attempts. `swapped` puts the answer before the reference; scores are turned back.
    """
    requests = [
        rules.messages(question, answer, swapped=swapped)
        for question, answer in zip(questions, answers, strict=True)
    ]
    settled: dict[int, Judgement] = {}
    for attempt in range(1, max_attempts + 1):
        open_ones = [index for index in range(len(requests)) if index not in settled]
        if not open_ones:
            break
        outcomes = judge([requests[index] for index in open_ones], run * max_attempts + attempt)
        for index, outcome in zip(open_ones, outcomes, strict=True):
            judgement = _read(outcome, attempt, swapped)
            if judgement.scores is not None or attempt == max_attempts:
                settled[index] = judgement
        progress(len(settled))
    return [settled[index] for index in range(len(requests))]


def _read(outcome: Reply | Failure, attempt: int, swapped: bool) -> Judgement:
    if isinstance(outcome, Failure):
        return Judgement(None, "", attempt, outcome.reason)
    scores = parse_scores(outcome.text)
    if scores is None:
        failure = "the first line is not two scores"
        return Judgement(None, outcome.text, attempt, failure, outcome.served, outcome.answered)
    turned = (scores[1], scores[0]) if swapped else scores
    return Judgement(turned, outcome.text, attempt, "", outcome.served, outcome.answered)


def _rules(
    system: str, with_boxes: Mapping[str, str], without_boxes: Mapping[str, str], role: str, source: str
) -> JudgeRules:
    digest = digest_of([system, dict(with_boxes), dict(without_boxes), role])
    return JudgeRules(system, with_boxes, without_boxes, role, source, digest)


def _official(table: Mapping[str, object], keys: Sequence[str], file: Path) -> tuple[str, str]:
    for key in keys:
        rule = table.get(key)
        if isinstance(rule, dict) and isinstance(rule.get("prompt"), str):
            return rule["prompt"], str(rule.get("role", "Assistant"))
    raise DataError(f"{file} has no rule '{keys[0]}' with a prompt")


def _line(path: Path) -> str:
    return read_text(path).rstrip("\n")
