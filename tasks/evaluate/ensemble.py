"""The paper's ensembles of a model that sees and a text-only LLM, on ScienceQA.

complement   the LLM's answer; where it has none, the model's
judge        both agree: keep it; the LLM has none: the model's; they differ: what the LLM says when it is asked again
             with both answers, and the model's where that says nothing

Source: LLaVA's eval_science_qa_gpt4.py and eval_science_qa_gpt4_requery.py. As there, a model without an answer is
replaced by a random choice; here that is seeded per question and counted. An LLM's letter outside the choices counts
as no answer (the scripts draw at random there).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from model.questions import Problem
from tasks.evaluate.extraction import Parsed
from tasks.evaluate.scienceqa import Marked, Outcome, Problems, mark
from tasks.statistics import mcnemar_exact


class Scheme(StrEnum):
    """How two answers become one."""

    COMPLEMENT = "complement"
    JUDGE = "judge"


class Branch(StrEnum):
    """By which rule an answer was taken."""

    LLM = "llm answered: its answer"
    AGREE = "both agree"
    LLM_FAILED = "llm has no answer: the model's"
    REQUERY = "they differ: the answer of the second query"
    REQUERY_FAILED = "they differ, second query has no answer: the model's"
    REQUERY_MISSING = "they differ, no second query: the model's"


@dataclass(frozen=True)
class Ensemble:
    """The answers of an ensemble, and how they came about."""

    marked: dict[str, Marked]
    branches: dict[str, int]
    """How many questions took each branch."""
    right: dict[str, int]
    """How many of them were right."""
    guesses: dict[str, int]
    """Questions on which the model had no answer, and those on which the seeded guess then decided."""
    oracle: int
    """Questions that the model or the LLM has right: the upper bound of any choice between the two."""
    unused: int
    """Second queries on questions on which nobody needed them."""
    taken: dict[str, Branch]
    """The branch of every question."""


def combine(
    problems: Problems,
    model: Mapping[str, Marked],
    llm: Mapping[str, Marked],
    scheme: Scheme,
    requery: Mapping[str, Marked] | None = None,
    seed: int = 0,
) -> Ensemble:
    """Combine two sets of outcomes. `requery` holds the second queries that were made, by pid (judge only)."""
    second = requery or {}
    marked: dict[str, Marked] = {}
    branches, right = Counter[str](), Counter[str]()
    taken: dict[str, Branch] = {}
    unanswered = guessed = oracle = unused = 0
    for pid, problem in problems.items():
        guess = guess_of(problem, seed, pid) if model[pid].choice is None else None
        own = mark(problem, Parsed(guess)) if guess is not None else model[pid]
        taken[pid], marked[pid] = _choose(scheme, own, llm[pid], second.get(pid))
        branch = taken[pid]
        branches[branch] += 1
        right[branch] += marked[pid].outcome is Outcome.RIGHT
        unanswered += guess is not None
        guessed += guess is not None and branch not in (Branch.LLM, Branch.AGREE, Branch.REQUERY)
        oracle += Outcome.RIGHT in (own.outcome, llm[pid].outcome)
        unused += pid in second and branch not in (Branch.REQUERY, Branch.REQUERY_FAILED)
    return Ensemble(
        marked,
        {branch.value: branches[branch] for branch in Branch if branches[branch]},
        {branch.value: right[branch] for branch in Branch if branches[branch]},
        {"model has no answer": unanswered, "decided by a guess": guessed},
        oracle,
        unused,
        taken,
    )


def differing(problems: Problems, model: Mapping[str, Marked], llm: Mapping[str, Marked], seed: int) -> list[str]:
    """The questions on which the scheme `judge` asks the LLM again: it has an answer, and the model another one."""
    return [
        pid
        for pid, problem in problems.items()
        if llm[pid].choice is not None and llm[pid].choice != _choice(problem, model[pid], seed, pid)
    ]


def _choice(problem: Problem, marked: Marked, seed: int, pid: str) -> int:
    return guess_of(problem, seed, pid) if marked.choice is None else marked.choice


def guess_of(problem: Problem, seed: int, pid: str) -> int:
    """A random choice that depends on the seed and the question alone, never on the order of questions."""
    return random.Random(f"{seed}:{pid}").randrange(len(problem.choices))


def p_value(first: Mapping[str, Marked], second: Mapping[str, Marked]) -> float:
    """McNemar's exact p-value of two sets of outcomes on the same questions."""
    wins = [(first[pid].outcome is Outcome.RIGHT, second[pid].outcome is Outcome.RIGHT) for pid in first]
    return mcnemar_exact(sum(a and not b for a, b in wins), sum(b and not a for a, b in wins))


def _choose(scheme: Scheme, model: Marked, llm: Marked, requery: Marked | None) -> tuple[Branch, Marked]:
    if llm.choice is None:
        return Branch.LLM_FAILED, model
    if scheme is Scheme.COMPLEMENT:
        return Branch.LLM, llm
    if llm.choice == model.choice:
        return Branch.AGREE, model
    if requery is None:
        return Branch.REQUERY_MISSING, model
    return (Branch.REQUERY_FAILED, model) if requery.choice is None else (Branch.REQUERY, requery)
