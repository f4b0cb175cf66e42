"""Both schemes of the paper choose as it says, every fallback is seeded, and every branch is counted."""

from __future__ import annotations

import pytest

from model.questions import Problem
from tasks.evaluate.ensemble import Branch, Scheme, combine, guess_of, p_value
from tasks.evaluate.extraction import Parsed
from tasks.evaluate.published import published_rows
from tasks.evaluate.scienceqa import COLUMNS, Marked, Outcome, mark

PROBLEMS = {str(pid): Problem(question="Q?", choices=("a", "b", "c", "d"), answer=0) for pid in range(8)}


def marked(choices: dict[str, int | None]) -> dict[str, Marked]:
    return {pid: mark(PROBLEMS[pid], Parsed(choice)) for pid, choice in choices.items()}


def every(**changes: int | None) -> dict[str, Marked]:
    """Answer 1 (wrong) to every question but those named (q3=0)."""
    return marked({pid: changes.get(f"q{pid}", 1) for pid in PROBLEMS})


def test_complement_takes_the_llm_and_the_model_where_the_llm_has_none() -> None:
    result = combine(PROBLEMS, every(q0=0, q1=0), every(q0=None, q2=0), Scheme.COMPLEMENT)
    assert {pid: answer.choice for pid, answer in result.marked.items()} == {
        **dict.fromkeys(PROBLEMS, 1), "0": 0, "2": 0,
    }
    assert result.branches == {Branch.LLM.value: 7, Branch.LLM_FAILED.value: 1}
    assert result.right == {Branch.LLM.value: 1, Branch.LLM_FAILED.value: 1}
    assert result.guesses == {"model has no answer": 0, "decided by a guess": 0}
    assert result.oracle == 3  # 0 and 1 by the model, 2 by the LLM


def test_judge_asks_again_only_where_both_answer_and_differ() -> None:
    model = every(q0=0, q1=2, q2=0, q3=0)
    llm = every(q0=None, q1=3, q2=3, q3=3)
    second = marked({"0": 3, "1": 0, "2": None, "5": 0})
    result = combine(PROBLEMS, model, llm, Scheme.JUDGE, second)
    assert {pid: answer.choice for pid, answer in result.marked.items()} == {
        "0": 0,  # the LLM has no answer: the model's
        "1": 0,  # they differ: the second query
        "2": 0,  # the second query has no answer: the model's
        "3": 0,  # no second query: the model's
        **dict.fromkeys("4567", 1),
    }
    assert result.branches == {
        Branch.AGREE.value: 4, Branch.LLM_FAILED.value: 1, Branch.REQUERY.value: 1, Branch.REQUERY_FAILED.value: 1,
        Branch.REQUERY_MISSING.value: 1,
    }
    assert sum(result.branches.values()) == len(PROBLEMS)
    assert result.unused == 2  # 0 and 5 were asked again for nothing


def test_a_model_without_an_answer_is_replaced_by_a_seeded_guess_that_is_counted() -> None:
    nobody = marked(dict.fromkeys(PROBLEMS))
    first, again = (combine(PROBLEMS, nobody, nobody, Scheme.COMPLEMENT, seed=1) for _ in range(2))
    other = combine(PROBLEMS, nobody, nobody, Scheme.COMPLEMENT, seed=2)
    assert first == again
    assert first.marked != other.marked
    assert first.guesses == {"model has no answer": 8, "decided by a guess": 8}
    assert all(answer.choice is not None for answer in first.marked.values())


def test_a_guess_that_nobody_needs_is_counted_apart() -> None:
    result = combine(PROBLEMS, every(q0=None), every(), Scheme.COMPLEMENT)
    assert result.guesses == {"model has no answer": 1, "decided by a guess": 0}


def test_guesses_do_not_depend_on_other_questions_and_reach_every_choice() -> None:
    problem = PROBLEMS["0"]
    assert {guess_of(problem, 0, str(pid)) for pid in range(100)} == {0, 1, 2, 3}
    few = {pid: PROBLEMS[pid] for pid in ("6", "3")}
    nobody = marked(dict.fromkeys(PROBLEMS))
    whole, part = (combine(problems, nobody, nobody, Scheme.COMPLEMENT) for problems in (PROBLEMS, few))
    assert all(part.marked[pid] == whole.marked[pid] for pid in few)


def test_no_scheme_beats_the_oracle() -> None:
    for seed in range(5):
        model = every(q0=None, q1=None, q2=0)
        llm = every(q0=None, q3=0)
        result = combine(PROBLEMS, model, llm, Scheme.COMPLEMENT, seed=seed)
        right = sum(answer.outcome is Outcome.RIGHT for answer in result.marked.values())
        assert right <= result.oracle


def test_p_value_compares_the_same_questions() -> None:
    assert p_value(every(), every(q0=0, q1=0, q2=0, q3=0, q4=0, q5=0)) == pytest.approx(2 / 2**6)


def test_published_rows_have_a_figure_for_every_column() -> None:
    assert all(list(row) == list(COLUMNS) for row in published_rows().values())
    assert published_rows()["LLaVA + GPT-4 judge"]["avg"] == 92.53
