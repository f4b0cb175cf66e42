"""Review files: failed judgements are counted and never averaged in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from tasks.errors import ScoringError
from tasks.evaluate.reviews import read_reviews, score_reviews, spread
from tests.unit.tasks.evaluate.sets import review, write_lines


def test_stored_scores_are_summed_per_category(tmp_path: Path) -> None:
    rows = [review(0, "llava_bench_conv", 8, 4), review(1, "llava_bench_detail", 10, 5), review(2, "conv", 2, 2)]
    scored = score_reviews(read_reviews(write_lines(tmp_path / "r.jsonl", rows)))
    assert {name: score.value for name, score in scored.rows.items()} == {"conv": 60.0, "detail": 50.0, "all": 55.0}
    assert scored.means["conv"] == (5.0, 3.0)
    assert not scored.failed


def test_a_failed_judgement_changes_no_score(tmp_path: Path) -> None:
    rows = [review(number, "conv", 8, 6) for number in range(9)]
    failed = {**review(9, "conv", -1, -1), "content": "Sorry."}
    unparsed = {name: value for name, value in review(10, "conv", 8, 8).items() if name != "tuple"}
    unparsed["content"] = "both good"
    good = score_reviews(read_reviews(write_lines(tmp_path / "a.jsonl", rows)))
    bad = score_reviews(read_reviews(write_lines(tmp_path / "b.jsonl", [*rows, failed, unparsed])))
    assert bad.rows["all"].value == good.rows["all"].value == 75.0
    assert (bad.failed, bad.total, bad.withheld) == (("9", "10"), 11, False)


def test_above_the_failure_share_nothing_is_scored(tmp_path: Path) -> None:
    rows = [review(0, "conv", 8, 6), review(1, "conv", -1, -1)]
    reviews = read_reviews(write_lines(tmp_path / "r.jsonl", rows))
    scored = score_reviews(reviews, max_failed_share=0.4)
    assert scored.withheld
    assert scored.rows["all"].value is None
    assert score_reviews(reviews, max_failed_share=0.5).rows["all"].value == 75.0


def test_a_file_of_failures_only_is_withheld(tmp_path: Path) -> None:
    scored = score_reviews(read_reviews(write_lines(tmp_path / "r.jsonl", [review(0, "conv", -1, -1)])))
    assert (scored.withheld, scored.rows["all"].value, scored.rows["all"].n) == (True, None, 0)


def test_text_is_parsed_where_no_scores_are_stored(tmp_path: Path) -> None:
    rows: list[dict[str, JsonValue]] = [
        {"question_id": 0, "text": "8 4\nx"}, {"question_id": 1, "score": [2, 1], "text": "no"},
    ]
    assert score_reviews(read_reviews(write_lines(tmp_path / "r.jsonl", rows))).rows["all"].value == 50.0


def test_the_second_assistant_may_be_the_reference(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "r.jsonl", [review(0, "conv", 4, 8)])
    assert score_reviews(read_reviews(path, reference=2)).rows["all"].value == 50.0


def test_mean_and_deviation_over_runs_of_the_judge(tmp_path: Path) -> None:
    runs = [
        score_reviews(read_reviews(write_lines(tmp_path / f"{model}.jsonl", [review(0, "conv", 10, model)])))
        for model in (5, 6, 7)
    ]
    assert spread(runs)["all"] == (60.0, 10.0)
    assert spread(runs[:1])["all"] == (50.0, None)


def test_a_withheld_run_has_no_part_in_a_mean(tmp_path: Path) -> None:
    good = score_reviews(read_reviews(write_lines(tmp_path / "a.jsonl", [review(0, "conv", 8, 8)])))
    bad = score_reviews(read_reviews(write_lines(tmp_path / "b.jsonl", [review(0, "conv", -1, -1)])))
    assert spread([good, bad]) == {}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question_id": 0, "category": "conv"}, "line 1 is no review"),
        ({"content": "8 9"}, "line 1 is no review"),
        ({"question_id": 0, "tuple": [8]}, "must be two numbers"),
        ({"question_id": 0, "tuple": [8, 9, 7]}, "must be two numbers"),
        ({"question_id": 0, "tuple": ["8", "9"]}, "must be two numbers"),
        ({"question_id": 0, "tuple": "8 9"}, "must be two numbers"),
    ],
)
def test_what_is_no_review_is_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ScoringError, match=message):
        read_reviews(path)


def test_repeated_and_absent_reviews_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="reviewed more than once: 0"):
        read_reviews(write_lines(tmp_path / "r.jsonl", [review(0, "conv", 8, 8), review(0, "conv", 8, 8)]))
    with pytest.raises(ScoringError, match="holds no reviews"):
        read_reviews(write_lines(tmp_path / "e.jsonl", []))


def test_a_file_that_is_too_small_for_a_point_says_how_many_it_would_take(tmp_path: Path) -> None:
    rows = [review(number, "conv", 8, (number * 3) % 9 + 1) for number in range(12)]
    scored = score_reviews(read_reviews(write_lines(tmp_path / "a.jsonl", rows)))
    assert scored.needed is not None
    assert scored.needed > 12
    steady = [review(number, "conv", 8, 6) for number in range(12)]
    assert score_reviews(read_reviews(write_lines(tmp_path / "b.jsonl", steady))).needed is None
