"""A comparison pairs what is the same question, tests it as its kind wants, corrects over categories, lists flips."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ScoringError
from tasks.evaluate.compare import compare
from tasks.statistics import holm, mcnemar_exact
from tests.fakes.evaluations import evaluation

NAMES = ("A", "B")


def test_differences_are_paired_tested_and_corrected(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=120, right=lambda index: index % 4 != 0)
    second = evaluation(tmp_path / "b", questions=120, right=lambda index: index % 4 != 0 or index % 8 == 0)
    (part,) = compare(first, second, NAMES).benchmarks
    rows = {row.name: row for row in part.rows}
    whole = rows["avg"]
    assert (whole.first, whole.second, whole.difference) == (75.0, 87.5, 12.5)
    assert (whole.first_only, whole.second_only) == (0, 15)
    assert whole.p_value == pytest.approx(mcnemar_exact(0, 15))
    assert 0 < whole.low < 12.5 < whole.high < 25
    assert (whole.whole, whole.holm) == (True, None)
    categories = [row for row in part.rows if not row.whole]
    assert [row.name for row in categories] == ["nat", "img", "soc", "lan"]
    assert [row.holm for row in categories] == holm([row.p_value for row in categories])
    assert all(row.benjamini_hochberg is not None and row.p_value <= row.benjamini_hochberg for row in categories)
    assert whole.needed is not None  # 120 examples do not show one point
    assert whole.needed > 120


def test_flips_are_listed_losses_first(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=10, right=lambda index: index != 3, pictures=True)
    second = evaluation(tmp_path / "b", questions=10, right=lambda index: index not in (5, 7), pictures=True)
    (part,) = compare(first, second, NAMES).benchmarks
    assert [(flip.first.id, flip.gain) for flip in part.flips] == [("q0005", -1.0), ("q0007", -1.0), ("q0003", 1.0)]
    assert part.flips[0].first.sighted.outcome == "right"
    assert part.flips[0].second.sighted.outcome == "wrong"


def test_the_same_model_differs_in_nothing(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "a", questions=60, right=lambda index: index % 3 > 0, bench=30)
    for part in compare(folder, folder, NAMES).benchmarks:
        assert part.flips == ()
        assert {(row.difference, row.low, row.high, row.p_value) for row in part.rows} == {(0.0, 0.0, 0.0, 1.0)}


def test_judged_answers_are_compared_by_their_relative_score(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=3, bench=30)
    second = evaluation(tmp_path / "b", questions=3, bench=30, scored=lambda index: (8.0, 7.0 - 2 * (index % 2)))
    part = compare(first, second, NAMES).benchmarks[1]
    whole = part.rows[-1]
    assert (part.judged, whole.name) == (True, "all")
    assert (whole.first, whole.second) == (87.5, 75.0)
    assert whole.p_value < 0.01
    assert whole.first_only is None
    assert {flip.gain for flip in part.flips} == {-0.25}


def test_a_failed_judgement_of_either_is_left_out_and_told(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=3, bench=9)
    second = evaluation(tmp_path / "b", questions=3, bench=9, scored=lambda index: None if index == 4 else (8.0, 7.0))
    part = compare(first, second, NAMES).benchmarks[1]
    assert part.rows[-1].n == 8
    assert part.notes == ("1 left out: a judgement failed for one of both",)


def test_only_the_same_questions_are_compared_and_the_rest_is_counted(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=20)
    second = evaluation(tmp_path / "b", questions=12)
    (part,) = compare(first, second, NAMES).benchmarks
    assert part.rows[-1].n == 12
    assert part.notes == ("8 examples were asked of A only; left out",)
    other = evaluation(tmp_path / "c", questions=20, salt="!")
    with pytest.raises(ScoringError, match="scienceqa: the two evaluations have no example in common"):
        compare(first, other, NAMES)


def test_measured_differently_is_told(tmp_path: Path) -> None:
    first = evaluation(tmp_path / "a", questions=6, settings={"rule": "llava", "confidence": 0.9})
    second = evaluation(tmp_path / "b", questions=6, settings={"rule": "lenient", "confidence": 0.95}, bench=3)
    found = compare(first, second, NAMES)
    assert found.benchmarks[0].notes == ("rule differs: llava for A, lenient for B",)
    assert found.notes == ("llava_bench was measured for B only",)


def test_what_is_no_evaluation_is_one_line(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "a", questions=6)
    with pytest.raises(ScoringError, match="holds no evaluation"):
        compare(folder, tmp_path, NAMES)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(ScoringError, match="holds no evaluation"):
        compare(folder, tmp_path, NAMES)
