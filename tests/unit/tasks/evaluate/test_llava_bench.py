"""LLaVA-Bench: official layouts in, the published prompt out, strict scores back, and a ratio of sums."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from tasks.errors import DataError
from tasks.evaluate.llava_bench import (
    BenchQuestion,
    Context,
    judge_prompt,
    load_bench,
    parse_scores,
    relative_rows,
    withhold,
)
from tests.unit.tasks.evaluate.sets import QUESTIONS, bench_set, write_lines


def load(root: Path) -> list[BenchQuestion]:
    return load_bench(root / "questions.jsonl", root / "context.jsonl", root / "answers_gpt4.jsonl")


def test_questions_come_with_context_and_reference(tmp_path: Path) -> None:
    found = load(bench_set(tmp_path))
    assert [question.id for question in found] == ["0", "1", "2", "3"]
    assert [question.category for question in found] == ["conv", "detail", "complex", "conv"]
    assert found[2].reference == "Reference 2."
    assert found[0].context == Context(
        ("A picture of 001.", "Another sentence."), (("red circle", (0.1, 0.25, 0.5, 1.0)),)
    )


def test_in_the_wild_describes_images_by_one_caption(tmp_path: Path) -> None:
    assert load(bench_set(tmp_path, boxes=False))[0].context == Context(("A picture of 001.",), None)


def test_the_oldest_layout_goes_by_the_order_of_lines(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    bare = [{name: value for name, value in row.items() if name != "question_id"} for row in QUESTIONS]
    write_lines(root / "questions.jsonl", bare)
    assert [question.reference for question in load(root)] == [f"Reference {number}." for number in range(4)]


def test_an_image_token_in_the_text_is_taken_out(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    write_lines(root / "questions.jsonl", [{**QUESTIONS[0], "text": "<image>\nWhat?"}])
    assert load(root)[0].text == "What?"


def test_byte_order_mark_and_crlf_do_not_matter(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    expected = load(root)
    for name in ("questions.jsonl", "context.jsonl", "answers_gpt4.jsonl"):
        content = (root / name).read_bytes()
        (root / name).write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    assert load(root) == expected


@pytest.mark.parametrize(
    ("file", "row", "message"),
    [
        ("questions.jsonl", {**QUESTIONS[0], "image": "9.jpg"}, "question 0 is about 9.jpg, which the context"),
        ("questions.jsonl", {**QUESTIONS[0], "category": "math"}, "question 0 is of category 'math'; possible are"),
        ("questions.jsonl", {**QUESTIONS[0], "question_id": 77}, "question 77 has no reference answer"),
        ("questions.jsonl", {**QUESTIONS[0], "text": None}, "lacks the text field 'text'"),
        ("context.jsonl", {"image": "001.jpg"}, "001.jpg has no captions"),
        ("context.jsonl", {"image": "001.jpg", "caption": "c", "instances": 5}, "instances of 001.jpg must be"),
        ("context.jsonl", {"image": "001.jpg", "caption": "c", "instances": [{"category": "x"}]}, "four numbers"),
        ("context.jsonl", {"image": "001.jpg", "caption": "c", "instances": [{"bbox": [1, "x"]}]}, "four numbers"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, file: str, row: dict[str, JsonValue], message: str) -> None:
    root = bench_set(tmp_path)
    write_lines(root / file, [row])
    with pytest.raises(DataError, match=message):
        load(root)


def test_repeated_questions_and_answers_are_refused(tmp_path: Path) -> None:
    root = bench_set(tmp_path)
    write_lines(root / "questions.jsonl", [QUESTIONS[0], QUESTIONS[0]])
    with pytest.raises(DataError, match="questions twice: 0"):
        load(root)
    write_lines(root / "answers_gpt4.jsonl", [{"question_id": 0, "text": "a"}, {"question_id": 0, "text": "b"}])
    with pytest.raises(DataError, match="answers question 0 twice"):
        load(root)
    write_lines(bench_set(tmp_path / "empty") / "questions.jsonl", [])
    with pytest.raises(DataError, match="holds no questions"):
        load(tmp_path / "empty")


def test_the_judge_prompt_is_the_published_one_block_by_block() -> None:
    boxes = (("donut", (0.37, 0.584, 0.504, 0.709)), ("cup", (0.0, 0.0, 1.0, 0.5)))
    question = BenchQuestion("0", "a.jpg", "What?", "conv", "The reference.", Context(("One.", "Two."), boxes))
    assert judge_prompt(question, "The answer.", "The rule.") == (
        "[Context]\nOne.\nTwo.\n\n"
        "donut: [0.37, 0.584, 0.504, 0.709]\ncup: [0.0, 0.0, 1.0, 0.5]\n\n"
        "[Question]\nWhat?\n\n"
        "[Assistant 1]\nThe reference.\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nThe answer.\n\n[End of Assistant 2]\n\n"
        "[System]\nThe rule.\n\n"
    )


def test_without_boxes_there_is_no_block_of_boxes() -> None:
    question = BenchQuestion("0", "a.jpg", "What?", "conv", "R", Context(("One.",), None))
    assert judge_prompt(question, "A", "rule").startswith("[Context]\nOne.\n\n[Question]\nWhat?\n\n[Assistant 1]\nR\n")


@pytest.mark.parametrize(
    ("reply", "scores"),
    [("8 9\nBecause.", (8.0, 9.0)), ("8.5 7", (8.5, 7.0)), ("8, 9", (8.0, 9.0)), ("10 1 \r\nx", (10.0, 1.0))],
)
def test_two_numbers_in_the_first_line_are_scores(reply: str, scores: tuple[float, float]) -> None:
    assert parse_scores(reply) == scores


@pytest.mark.parametrize(
    "reply",
    [
        "", "8", "8 9 7", "eight nine", "Assistant 1: 8, Assistant 2: 9", "Scores: 8 9", "\n8 9", "nan 5", "inf 5",
        "-1 -1", "8 11", "1_0 5", "8/10 9/10", "8 9 because", "I am sorry.",
    ],
)
def test_anything_else_is_no_score(reply: str) -> None:
    assert parse_scores(reply) is None


def test_relative_score_is_a_ratio_of_sums_per_category_and_over_all() -> None:
    judged = [("conv", (10.0, 5.0)), ("conv", (2.0, 2.0)), ("complex", (8.0, 8.0))]
    rows = relative_rows(judged, resamples=500)
    assert list(rows) == ["conv", "complex", "all"]
    assert rows["conv"].value == pytest.approx(100 * 7 / 12, abs=1e-6)  # the mean of ratios would be 75
    assert (rows["all"].value, rows["all"].n) == (75.0, 3)
    low, high = rows["all"].low, rows["all"].high
    assert low is not None
    assert high is not None
    assert 50.0 <= low < 75.0 < high <= 100.0


def test_nothing_judged_is_no_score() -> None:
    assert relative_rows([])["all"].value is None
    assert relative_rows([("conv", (0.0, 5.0))])["all"].value is None


def test_withheld_rows_keep_their_counts_only() -> None:
    row = withhold(relative_rows([("conv", (8.0, 8.0))]))["all"]
    assert (row.value, row.low, row.high, row.n) == (None, None, None, 1)
