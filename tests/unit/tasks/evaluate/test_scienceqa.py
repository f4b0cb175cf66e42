"""ScienceQA: the official layout is read however it was saved, and its breakdown is counted as published."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.questions import Problem
from tasks.errors import DataError
from tasks.evaluate.extraction import Parsed
from tasks.evaluate.scienceqa import (
    COLUMNS,
    TEST_SIZES,
    Marked,
    Outcome,
    breakdown,
    groups_of,
    load_split,
    mark,
    share_of,
    size_differences,
    topics,
)
from tests.unit.tasks.evaluate.sets import HINTED, PLAIN, SEEN, UNSEEN, asked, problems, scienceqa_set, write_json


def test_a_split_is_read_in_the_order_of_its_file(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path)
    assert load_split(root / "problems.json", root / "pid_splits.json", "test") == asked()
    assert list(load_split(root / "problems.json", root / "pid_splits.json", "test")) == list(asked())
    assert load_split(root, root / "pid_splits.json", "test") == asked()


def test_without_a_file_of_splits_each_question_says_its_own(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path)
    assert load_split(root / "problems.json", None, "test") == asked()
    assert list(load_split(root / "problems.json", None, "train")) == ["1"]


def test_byte_order_mark_and_crlf_do_not_matter(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path)
    for name in ("problems.json", "pid_splits.json"):
        text = (root / name).read_text().replace(", ", ",\r\n")
        (root / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert load_split(root / "problems.json", root / "pid_splits.json", "test") == asked()


def test_unknown_fields_are_dropped_and_null_ones_empty(tmp_path: Path) -> None:
    record = {"question": "Q?", "choices": ["a", "b"], "answer": 0, "split": "test", "_source": "x", "hint": None}
    path = write_json(tmp_path / "problems.json", {"5": record})
    assert load_split(path, None, "test")["5"].hint == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": 2}, "answer 2 is none of 2 choices"),
        ({"answer": "b"}, "answer"),
        ({"choices": ["a"]}, "has 1 choices"),
        ({"choices": list("abcdef")}, "has 6 choices"),
        ({"question": None}, "question: Field required"),
    ],
)
def test_a_bad_record_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    record = {"question": "Q?", "choices": ["a", "b"], "answer": 0, "split": "test", **change}
    path = write_json(tmp_path / "problems.json", {"5": record})
    with pytest.raises(DataError, match=message) as caught:
        load_split(path, None, "test")
    assert "question 5" in str(caught.value)


def test_a_problems_file_without_the_split_says_what_it_has(tmp_path: Path) -> None:
    root = scienceqa_set(tmp_path)
    write_json(tmp_path / "train.json", {"1": problems()["1"].model_dump()})
    with pytest.raises(DataError, match=r"no questions of split 'test' \(it has: train\)"):
        load_split(tmp_path / "train.json", None, "test")
    with pytest.raises(DataError, match=r"lacks 4 of the 4 questions .*: 10, 7, 3, 21"):
        load_split(tmp_path / "train.json", root / "pid_splits.json", "test")
    with pytest.raises(DataError, match="no split 'dev'; it has: test, train, val"):
        load_split(root / "problems.json", root / "pid_splits.json", "dev")


@pytest.mark.parametrize("text", ["[1, 2]", "{", "\x00", '{"1": 5}', '{"1": {}, "1": {}}'])
def test_what_is_no_problems_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "problems.json"
    path.write_text(text)
    with pytest.raises(DataError, match=r"problems\.json"):
        load_split(path, None, "test")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        load_split(tmp_path / "problems.json", None, "test")
    (tmp_path / "latin.json").write_bytes('{"1": "\u00e9"}'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        load_split(tmp_path / "latin.json", None, "test")


def test_groups_follow_subject_context_grade_and_skill() -> None:
    assert groups_of(asked()[SEEN]) == ("nat", "img", "g1-6")
    assert groups_of(asked()[HINTED]) == ("soc", "txt", "g7-12")
    assert groups_of(asked()[PLAIN]) == ("lan", "no", "g7-12")
    assert groups_of(asked()[UNSEEN]) == ("nat", "img", "g1-6", "unseen_pair")


def test_hint_and_image_overlap() -> None:
    both = asked()[SEEN].model_copy(update={"hint": "Look."})
    assert set(groups_of(both)) == {"nat", "txt", "img", "g1-6"}


def test_outcomes_tell_wrong_from_unparsed() -> None:
    problem = asked()[SEEN]
    assert mark(problem, Parsed(2)).outcome is Outcome.RIGHT
    assert mark(problem, Parsed(0)) == Marked(Outcome.WRONG, 0)
    assert mark(problem, Parsed(None, "empty")) == Marked(Outcome.UNPARSED, None, "empty")


def test_the_breakdown_counts_unparsed_as_not_right_and_stands_beside_chance_and_blind() -> None:
    sighted = {
        SEEN: Marked(Outcome.RIGHT, 2), HINTED: Marked(Outcome.WRONG, 0), PLAIN: Marked(Outcome.UNPARSED),
        UNSEEN: Marked(Outcome.RIGHT, 1),
    }
    blind = {**sighted, SEEN: Marked(Outcome.WRONG, 0)}
    rows = breakdown(asked(), sighted, blind)
    assert list(rows) == ["nat", "soc", "lan", "txt", "img", "no", "g1-6", "g7-12", "unseen_pair", "avg"]
    assert (rows["avg"].value, rows["avg"].n, rows["avg"].right) == (50.0, 4, 2)
    assert (rows["img"].value, rows["img"].blind) == (100.0, 50.0)
    assert (rows["unseen_pair"].value, rows["unseen_pair"].blind) == (100.0, 100.0)
    assert rows["avg"].random == pytest.approx(100 * (1 / 3 + 1 / 4 + 1 / 2 + 1 / 3) / 4, abs=1e-6)
    low, high = rows["img"].low, rows["img"].high
    assert (low, high) == pytest.approx((15.811388, 100.0))  # Clopper-Pearson of 2 of 2
    assert share_of(Outcome.UNPARSED, sighted) == 25.0


def test_rows_without_questions_are_left_out() -> None:
    only = {PLAIN: asked()[PLAIN]}
    assert list(breakdown(only, {PLAIN: Marked(Outcome.RIGHT, 0)})) == ["lan", "no", "g7-12", "avg"]


def test_topics_have_rows_of_their_own() -> None:
    marked = {pid: Marked(Outcome.RIGHT) for pid in asked()}
    assert {name: score.n for name, score in topics(asked(), marked).items()} == {
        "colour": 1, "figurative-language": 1, "geography": 1, "shape": 1,
    }


def full_split() -> dict[str, Problem]:
    """A made-up test split of the official sizes."""

    def problem(number: int) -> Problem:
        subject = "natural" if number < 2252 else "social" if number < 2252 + 889 else "language"
        # TXT and IMG overlap in 1256 (derived from the published sizes).
        image = number < 2017
        hint = number < 1256 or 2017 <= number < 2017 + 2045 - 1256
        return Problem(
            question="Q?", choices=("a", "b"), answer=0, hint="h" if hint else "", image="i.png" if image else None,
            subject=f"{subject} science", grade="grade1" if number < 2724 else "grade12",
        )

    return {str(number): problem(number) for number in range(4241)}


def test_sizes_of_the_full_test_split_are_checked() -> None:
    whole = full_split()
    assert size_differences(whole) == []
    altered = {**whole, "0": whole["0"].model_copy(update={"image": None})}
    assert size_differences(altered) == ["IMG has 2016 questions, published are 2017"]
    assert size_differences(asked()) == []


def test_every_published_column_has_a_size() -> None:
    assert list(TEST_SIZES) == list(COLUMNS)
