"""References are made for every question or for none, from the context alone, in a layout that can be evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.chat.records import Failure, Message, Reply
from tasks.errors import DataError
from tasks.evaluate.json_files import read_lines
from tasks.evaluate.llava_bench import load_bench
from tasks.evaluate.references import build_references
from tasks.scripted import solver
from tests.fakes.models import Judge
from tests.unit.tasks.evaluate.sets import QUESTIONS, bench_set, write_lines


def build(root: Path, llm: Judge) -> dict[str, int]:
    return build_references(
        root / "questions.jsonl", root / "context.jsonl", root / "images", root / "made.jsonl", llm, "teacher-1",
        lambda done, total: None,
    )


@pytest.mark.parametrize("boxes", [True, False])
def test_a_set_with_its_new_references_can_be_evaluated(tmp_path: Path, boxes: bool) -> None:
    root = bench_set(tmp_path, boxes)
    (root / "answers_gpt4.jsonl").unlink()
    llm = Judge(lambda text, attempt: f"  Answer to {text.splitlines()[-1]}\n")
    assert build(root, llm) == {"questions": 4, "images": 2}
    bench = load_bench(root / "questions.jsonl", root / "context.jsonl", root / "made.jsonl")
    assert [question.reference for question in bench] == [f"Answer to {row['text']}" for row in QUESTIONS]
    told = llm.requests[0][-1].content
    assert ("red circle: [0.1, 0.25, 0.5, 1.0]" in told) is boxes
    row = read_lines(root / "made.jsonl")[0]
    assert (row["question_id"], row["category"], row["model_id"]) == ("0", "conv", "teacher-1")


def test_nothing_is_written_unless_every_question_is_answered(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    llm = Judge(lambda text, attempt: {"Describe it.": None, "Why is it so?": " "}.get(text.splitlines()[-1], "Yes."))
    with pytest.raises(DataError, match=r"2 of 4 questions have no reference \(timed out\): 1, 2; run again"):
        build(root, llm)
    assert llm.rounds == [(1, 4), (2, 2), (3, 2)]
    assert not (root / "made.jsonl").exists()


def test_what_was_cut_off_is_asked_again(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    rounds: list[int] = []

    def llm(requests: Sequence[Sequence[Message]], attempt: int) -> Sequence[Reply | Failure]:
        rounds.append(len(requests))
        return [Reply("Half a", 1, 1, "length") if attempt == 1 else Reply("Whole.", 1, 1) for _ in requests]

    build_references(
        root / "questions.jsonl", root / "context.jsonl", None, root / "made.jsonl", llm, "m", lambda done, total: None
    )
    assert rounds == [4, 4]
    assert {row["text"] for row in read_lines(root / "made.jsonl")} == {"Whole."}


def test_a_set_that_cannot_be_evaluated_later_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    llm = Judge(lambda text, attempt: "Yes.")
    (root / "images" / "001.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"001\.jpg of question 1 cannot be read"):
        build(root, llm)
    write_lines(root / "questions.jsonl", [*QUESTIONS, QUESTIONS[0]])
    with pytest.raises(DataError, match="questions twice: 0"):
        build(root, llm)
    write_lines(root / "questions.jsonl", [{**QUESTIONS[0], "image": "9.jpg"}])
    with pytest.raises(DataError, match="which the context file does not describe"):
        build(root, llm)
    assert llm.requests == []


def test_the_scripted_llm_describes_what_the_context_says(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    build(root, Judge(lambda text, attempt: solver.answer([Message("user", text)])))
    assert "A picture of 001." in str(read_lines(root / "made.jsonl")[0]["text"])
