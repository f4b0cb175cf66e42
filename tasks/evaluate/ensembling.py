"""Ask a text-only LLM the questions that the model was asked, and report both together, as the paper does.

The wording of the second query was never published; ours is `prompts/requery.txt`. It gives the LLM its own answer and
the model's, in full, and asks for one final sentence.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from configs.schema import EnsembleConfig, EvaluateConfig, ScienceQAConfig
from model.questions import Problem, PromptFormat, prompt_of, target_of
from tasks.artifacts import Frozen, digest_of
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import DataError
from tasks.evaluate.ensemble import Branch, Ensemble, Scheme, combine, differing, p_value
from tasks.evaluate.extraction import Rule, parse_answer
from tasks.evaluate.json_files import read_text
from tasks.evaluate.published import published_rows
from tasks.evaluate.report import EnsembleReport, Score, rounded
from tasks.evaluate.scienceqa import Marked, Outcome, Problems, breakdown, is_test_split, load_split, mark
from tasks.statistics import exact_interval, paired_difference

PROMPTS = Path(__file__).resolve().parent / "prompts"
MAX_ATTEMPTS = 3
FORMAT: PromptFormat = "QCM-LEA"
FILE = "ensemble.jsonl"


class Asked(Protocol):
    """Whoever answers: a chat client behind its ledger, or a fake."""

    def __call__(self, requests: Sequence[Sequence[Message]], attempt: int) -> Sequence[Reply | Failure]:
        """One outcome a request, in order; another `attempt` is another request."""


class Combined(Frozen):
    """One question of an ensemble: a line of ensemble.jsonl."""

    id: str
    llm: str
    """What the LLM said; empty where it failed."""
    requery: str | None
    """What it said when it was asked again; None where it was not."""
    branch: str
    choice: int | None
    outcome: str


@dataclass(frozen=True)
class Prepared:
    """What an ensemble needs before anybody is asked."""

    problems: Problems
    shots: tuple[Problem, ...]
    """Solved questions that stand before each question."""
    config: EnsembleConfig
    rule: Rule
    seed: int
    confidence: float
    resamples: int

    @property
    def work(self) -> int:
        """Requests that it may take, for its progress."""
        return len(self.problems) * (2 if self.config.scheme == "judge" else 1)

    def request(self, problem: Problem) -> tuple[Message, ...]:
        """The question to the LLM, after the solved ones."""
        solved = [
            message
            for shot in self.shots
            for message in (
                Message("user", prompt_of(shot, FORMAT, with_image=False)),
                Message("assistant", target_of(shot, FORMAT)),
            )
        ]
        question = Message("user", prompt_of(problem, FORMAT, with_image=False))
        return Message("system", _prompt("llm")), *solved, question

    def second_request(self, problem: Problem, llm: str, model: str) -> tuple[Message, ...]:
        """The question again, with both answers."""
        *before, question = self.request(problem)
        # Not format(): an answer may hold braces.
        told = _prompt("requery").replace("{llm}", llm.strip(), 1)
        head, _, tail = told.rpartition("{model}")
        return *before, Message("user", f"{question.content}\n\n{head}{model.strip() or '(no answer)'}{tail}")

    def marked(self, texts: Mapping[str, str]) -> dict[str, Marked]:
        """Texts by pid as outcomes."""
        return {
            pid: mark(self.problems[pid], parse_answer(text, self.problems[pid].choices, self.rule))
            for pid, text in texts.items()
        }


def prepare(root: Path, problems: Problems, evaluate: EvaluateConfig, seed: int) -> Prepared | None:
    """An ensemble over the questions that are asked of the model; None where the experiment wants none."""
    own = evaluate.scienceqa
    if own is None or own.ensemble is None:
        return None
    shots = _shots(root, own, own.ensemble.shots, seed)
    rule = Rule(own.ensemble.rule or own.rule)
    return Prepared(problems, shots, own.ensemble, rule, seed, evaluate.confidence, evaluate.bootstrap)


def run(
    prepared: Prepared, texts: Mapping[str, str], llm: Asked, progress: Callable[[int], None]
) -> tuple[EnsembleReport, list[Combined]]:
    """Ask, combine, score. `texts` is what the model said, by pid; `progress` hears how many requests are settled."""
    problems, scheme = prepared.problems, Scheme(prepared.config.scheme)
    first = _ask(llm, {pid: prepared.request(problem) for pid, problem in problems.items()}, progress)
    said = {pid: _text(outcome) for pid, outcome in first.items()}
    model, llm_marked = prepared.marked(texts), prepared.marked(said)
    again = differing(problems, model, llm_marked, prepared.seed) if scheme is Scheme.JUDGE else []
    requests = {pid: prepared.second_request(problems[pid], said[pid], texts[pid]) for pid in again}
    second = _ask(llm, requests, lambda done: progress(len(problems) + done))
    second_said = {pid: _text(outcome) for pid, outcome in second.items()}
    second_marked = prepared.marked(second_said)
    progress(prepared.work)  # second queries that nobody needs count as settled
    result = combine(problems, model, llm_marked, scheme, second_marked, prepared.seed)
    counts = {
        "questions": len(problems),
        "llm without answer": _unanswered(llm_marked),
        "llm failed": sum(isinstance(outcome, Failure) for outcome in first.values()),
        "second queries": len(again),
        "second queries without answer": _unanswered(second_marked),
    }
    combined = [
        Combined(
            id=pid, llm=said[pid], requery=second_said.get(pid), branch=result.taken[pid].value,
            choice=result.marked[pid].choice, outcome=result.marked[pid].outcome.value,
        )
        for pid in problems
    ]
    return _report(prepared, scheme, model, llm_marked, result, counts), combined


def _report(
    prepared: Prepared,
    scheme: Scheme,
    model: Mapping[str, Marked],
    llm: Mapping[str, Marked],
    result: Ensemble,
    counts: dict[str, int],
) -> EnsembleReport:
    problems, config = prepared.problems, prepared.config
    guessed = guessed_pids(model, result)
    parts = (("model", model), ("llm", llm), (scheme.value, result.marked))
    return EnsembleReport(
        scheme=scheme.value,
        rows={name: breakdown(problems, marked, confidence=prepared.confidence) for name, marked in parts},
        branches=result.branches,
        right=result.right,
        guesses=result.guesses,
        oracle=_share(result.oracle, len(problems), prepared.confidence),
        difference=_difference(result.marked, model, prepared),
        difference_read=_difference(_without(result.marked, guessed), model, prepared),
        p_value=p_value(result.marked, model),
        counts=counts | {"guesses right": sum(result.marked[pid].outcome is Outcome.RIGHT for pid in guessed)},
        settings={
            "llm": config.llm.model_dump(include={"kind", "model", "temperature", "max_tokens"}),
            "rule": prepared.rule.value,
            "shots": len(prepared.shots),
            "shots_wanted": config.shots,
            "seed": prepared.seed,
            "prompts_digest": digest_of([_prompt("llm"), _prompt("requery")]),
        },
        published=published_rows(),
        comparable=is_test_split(problems),
    )


def guessed_pids(model: Mapping[str, Marked], result: Ensemble) -> set[str]:
    """Questions whose answer in the end is a seeded guess: the model had none, and its answer was to count."""
    own = {Branch.LLM_FAILED, Branch.REQUERY_FAILED, Branch.REQUERY_MISSING}
    return {pid for pid, branch in result.taken.items() if branch in own and model[pid].choice is None}


def _without(marked: Mapping[str, Marked], pids: set[str]) -> dict[str, Marked]:
    """The same outcomes, those of some questions taken for unparsed."""
    return {pid: Marked(Outcome.UNPARSED) if pid in pids else answer for pid, answer in marked.items()}


def write_combined(folder: Path, combined: Sequence[Combined]) -> None:
    """Write ensemble.jsonl."""
    with (folder / FILE).open("w", encoding="utf-8", newline="\n") as handle:
        handle.writelines(row.model_dump_json() + "\n" for row in combined)


def _shots(root: Path, own: ScienceQAConfig, wanted: int, seed: int) -> tuple[Problem, ...]:
    """Questions of the training split that need no image, drawn by the seed; fewer where the set has no more."""
    if wanted == 0:
        return ()
    splits = root / own.splits
    try:
        training = load_split(root / own.problems, splits if splits.is_file() else None, "train")
    except DataError:
        # Copies of the test split alone are common; the settings in the report say how many were shown.
        return ()
    readable = [problem for problem in training.values() if problem.image is None]
    return tuple(random.Random(f"shots:{seed}").sample(readable, min(wanted, len(readable))))


def _ask(
    llm: Asked, requests: Mapping[str, Sequence[Message]], progress: Callable[[int], None]
) -> dict[str, Reply | Failure]:
    """One outcome a request; what the endpoint failed to answer is asked again, what it did answer never."""
    settled: dict[str, Reply | Failure] = {}
    for attempt in range(1, MAX_ATTEMPTS + 1):
        open_ones = [pid for pid in requests if not isinstance(settled.get(pid), Reply)]
        if not open_ones:
            break
        settled.update(zip(open_ones, llm([requests[pid] for pid in open_ones], attempt), strict=True))
        progress(sum(isinstance(outcome, Reply) for outcome in settled.values()))
    return settled


def _text(outcome: Reply | Failure) -> str:
    return outcome.text if isinstance(outcome, Reply) else ""


def _unanswered(marked: Mapping[str, Marked]) -> int:
    return sum(answer.choice is None for answer in marked.values())


def _share(right: int, n: int, confidence: float) -> Score:
    low, high = exact_interval(right, n, confidence)
    return Score(value=rounded(right / n), low=rounded(low), high=rounded(high), n=n, right=right)


def _difference(first: Mapping[str, Marked], second: Mapping[str, Marked], prepared: Prepared) -> Score:
    points = [[float(marked[pid].outcome is Outcome.RIGHT) for pid in first] for marked in (first, second)]
    ones = [1.0] * len(first)
    low, high = paired_difference(
        (points[0], ones), (points[1], ones), confidence=prepared.confidence, resamples=prepared.resamples,
        seed=prepared.seed,
    )
    value = (sum(points[0]) - sum(points[1])) / len(first)
    return Score(value=rounded(value), low=rounded(low), high=rounded(high), n=len(first))


def _prompt(name: str) -> str:
    return read_text(PROMPTS / f"{name}.txt").rstrip("\n")
