"""Every published layout of predictions gives the same answers, and what cannot be scored says why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.errors import DataError, ScoringError
from tasks.evaluate.predictions import NOT_PARSED, check_benchmark, read_predictions
from tests.unit.tasks.evaluate.sets import HINTED, PLAIN, SEEN, UNSEEN, asked, review, write_json, write_lines

TEXTS = {SEEN: "C", HINTED: "The answer is B.", PLAIN: "", UNSEEN: "E"}
ORDER = list(asked())


def test_results_json_holds_texts_and_stored_choices(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "r.json",
        {"acc": 1.0, "correct": 1, "count": 4, "results": {SEEN: 2, HINTED: "1", PLAIN: -1}, "outputs": TEXTS},
    )
    found = read_predictions(path, ORDER)
    assert found.texts == TEXTS
    assert found.stored == {SEEN: 2, HINTED: 1, PLAIN: NOT_PARSED}


def test_results_json_may_hold_either_alone(tmp_path: Path) -> None:
    assert read_predictions(write_json(tmp_path / "a.json", {"results": {SEEN: 2}}), ORDER).texts == {}
    assert read_predictions(write_json(tmp_path / "b.json", {"outputs": {SEEN: "A"}}), ORDER).stored == {}


def test_output_json_of_llava_holds_rows_of_right_and_wrong_answers(tmp_path: Path) -> None:
    def row(pid: str, letter: str) -> dict[str, object]:
        return {"question_id": pid, "parsed_ans": letter, "ground_truth": "A", "question": "q", "pred": TEXTS[pid]}

    path = write_json(
        tmp_path / "o.json",
        {"correct": [row(SEEN, "C")], "incorrect": [row(HINTED, "B"), row(PLAIN, "FAILED"), row(UNSEEN, "E")]},
    )
    found = read_predictions(path, ORDER)
    assert found.texts == TEXTS
    assert found.stored == {SEEN: 2, HINTED: 1, PLAIN: NOT_PARSED, UNSEEN: 4}
    assert found.prompts[SEEN] == "q"


@pytest.mark.parametrize("ids", ["question_id", "pid", "id"])
@pytest.mark.parametrize("texts", ["text", "pred", "output", "prediction", "response"])
def test_answers_may_stand_one_a_line(tmp_path: Path, ids: str, texts: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{ids: pid, texts: text} for pid, text in TEXTS.items()])
    assert read_predictions(path, ORDER).texts == TEXTS


def test_one_line_alone_is_a_row_too(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"question_id": 10, "text": "C"}])
    assert read_predictions(path, ORDER).texts == {SEEN: "C"}


def test_byte_order_mark_crlf_blank_lines_and_line_separators_do_not_matter(tmp_path: Path) -> None:
    rows = [{"question_id": pid, "text": f"{text}\u2028"} for pid, text in TEXTS.items()]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n\r\n".join(lines).encode() + b"\r\n")
    assert read_predictions(path, ORDER).texts == {pid: f"{text}\u2028" for pid, text in TEXTS.items()}


def test_a_list_follows_the_order_of_the_split(tmp_path: Path) -> None:
    in_order = [TEXTS[pid] for pid in ORDER]
    assert read_predictions(write_json(tmp_path / "l.json", in_order), ORDER).texts == TEXTS
    assert read_predictions(write_json(tmp_path / "i.json", [0, 1, 2, -1]), ORDER).stored == dict(
        zip(ORDER, [0, 1, 2, -1], strict=True)
    )
    (tmp_path / "l.txt").write_bytes(b"C\r\nThe answer is B.\r\n\r\nE\r\n")
    assert read_predictions(tmp_path / "l.txt", ORDER).texts == TEXTS
    rows = [{"pid": pid, "text": text} for pid, text in TEXTS.items()]
    assert read_predictions(write_json(tmp_path / "o.json", rows), ORDER).texts == TEXTS


def test_a_map_may_hold_texts_indices_and_nothing(tmp_path: Path) -> None:
    found = read_predictions(write_json(tmp_path / "m.json", {SEEN: "C", HINTED: 1, PLAIN: None}), ORDER)
    assert (found.texts, found.stored) == ({SEEN: "C", PLAIN: ""}, {HINTED: 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"acc": 83.9, "correct": 3562, "wrong": 679, "count": 4241}', "summary without predictions .*3562 of 4241"),
        ('["A", "B"]', "lists 2 answers, but the split has 4"),
        ('{"10": "A", "7": "B", "10": "C"}', "given twice: 10"),
        ('{"pid": 10, "text": "A"}\n{"pid": "10", "text": "B"}', r"1 pid\(s\) occur more than once: 10"),
        ('{"question_id": 10}\n{"question_id": 7}', "row of pid 10 has no answer"),
        ('{"text": "A"}\n{"text": "B"}', "row 1 names no question"),
        ('{"10": ["A"]}', "answer of pid 10 must be text"),
        ('{"results": {"10": true}}', "stored choice of pid 10 must be an index"),
        ('{"results": {"10": "none"}}', "stored choice of pid 10 must be an index, but is 'none'"),
        ('"A"', "holds a str"),
        ("not json", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
    ],
)
def test_what_cannot_be_scored_says_why(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "p.json"
    path.write_text(content)
    with pytest.raises(ScoringError, match=message) as caught:
        read_predictions(path, ORDER)
    assert "p.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question_id": 10, "text": "A"}\n{"question_id": 7, "te\n')
    with pytest.raises(DataError, match="line 2 is not JSON"):
        read_predictions(path, ORDER)


def test_reviews_of_the_other_benchmark_are_recognised(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", [review(number, "conv", 8, 7) for number in range(3)])
    with pytest.raises(ScoringError, match="reviews of LLaVA-Bench; use `llavaflow score llava-bench`"):
        read_predictions(path, ORDER)


def test_ids_of_another_benchmark_are_recognised(tmp_path: Path) -> None:
    path = write_json(tmp_path / "m.json", {str(number): "A" for number in range(9)})
    with pytest.raises(ScoringError, match=r"only 2 of its 9 ids are questions of split 'test'.*--split"):
        check_benchmark(read_predictions(path, ORDER), asked(), "test")
    with pytest.raises(ScoringError, match="holds no predictions"):
        check_benchmark(read_predictions(write_json(tmp_path / "e.json", {}), ORDER), asked(), "test")


def test_a_file_of_all_splits_is_of_this_benchmark(tmp_path: Path) -> None:
    path = write_json(tmp_path / "m.json", {str(number): "A" for number in range(40)})
    check_benchmark(read_predictions(path, ORDER), asked(), "test")


def test_prompts_of_other_questions_are_recognised_though_the_ids_agree(tmp_path: Path) -> None:
    def rows(prompts: dict[str, str]) -> Path:
        return write_lines(
            tmp_path / "a.jsonl",
            [{"question_id": pid, "prompt": prompt, "text": "A"} for pid, prompt in prompts.items()],
        )

    spaced = {pid: problem.question.replace(" ", "  ") for pid, problem in asked().items()}
    own = {pid: f"<image>\nContext:  x\n{question}\nA. a" for pid, question in spaced.items()}
    check_benchmark(read_predictions(rows(own), ORDER), asked(), "test")
    other = dict.fromkeys(asked(), "Describe this photo in detail.")
    with pytest.raises(ScoringError, match="prompts of 4 of 4 predictions do not hold the question"):
        check_benchmark(read_predictions(rows(other), ORDER), asked(), "test")
