"""Answers to POPE and MME made elsewhere are scored as the stage scores its own; bad files say what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from tasks.errors import DataError, LlavaflowError, ScoringError
from tasks.evaluate.benchmark import Bootstrap
from tasks.evaluate.replay import Missing
from tasks.evaluate.yes_no import YesNoRule
from tasks.evaluate.yes_no_files import report_lines, score_mme, score_pope
from tests.unit.tasks.evaluate.sets import write_lines
from tests.unit.tasks.evaluate.test_mme import LINES
from tests.unit.tasks.evaluate.test_pope import LABELS, pope_set

BOOTSTRAP = Bootstrap(resamples=200)


def answers(path: Path, texts: tuple[str, ...], **changes: JsonValue) -> Path:
    return write_lines(
        path, [{"question_id": number, "text": text, **changes} for number, text in enumerate(texts, 1)]
    )


def score(root: Path, *pairs: tuple[str, Path], missing: Missing = Missing.ERROR) -> dict[str, float | None]:
    found = [(root / f"coco_pope_{subset}.json", path) for subset, path in pairs]
    report = score_pope(found, YesNoRule.LLAVA, missing, BOOTSTRAP)
    assert report_lines("POPE", report)[0] == "POPE"
    return {name: figure.value for name, figure in {**report.rows, **report.measures}.items()} | dict(report.rates)


def test_pope_files_are_matched_by_id_whatever_their_order(tmp_path: Path) -> None:
    root = pope_set(tmp_path)
    right = answers(tmp_path / "right.jsonl", LABELS)
    right.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(reversed(right.read_bytes().splitlines())))
    all_yes = answers(tmp_path / "yes.jsonl", ("Yes",) * 6)
    found = score(root, ("random", right), ("popular", all_yes))
    assert (found["random/f1"], found["popular/yes_ratio"], found["all"]) == (100.0, 100.0, 75.0)


def test_missing_answers_are_an_error_unless_asked_for(tmp_path: Path) -> None:
    root = pope_set(tmp_path)
    few = answers(tmp_path / "few.jsonl", LABELS[:4])
    with pytest.raises(ScoringError, match=r"2 of 6 questions have no answer: random-5, random-6; --missing wrong"):
        score(root, ("random", few))
    found = score(root, ("random", few), missing=Missing.WRONG)
    assert found["random"] == pytest.approx(100 * 4 / 6, abs=1e-5)
    assert found["missing"] == pytest.approx(100 * 2 / 6, abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question_id": 1, "text": "yes"}, {"question_id": 1, "text": "no"}], "answers question 1 twice"),
        ([{"question_id": 1}], "is no answer"),
        ([{"id": 1, "text": "yes"}], "is no answer"),
        ([{"question_id": 99, "text": "yes"}], "answers none of the questions"),
    ],
)
def test_a_bad_file_of_answers_is_refused(tmp_path: Path, rows: list[dict[str, JsonValue]], message: str) -> None:
    root = pope_set(tmp_path)
    with pytest.raises(ScoringError, match=message):
        score(root, ("random", write_lines(tmp_path / "bad.jsonl", rows)))


def test_a_subset_is_told_by_its_name_and_given_once(tmp_path: Path) -> None:
    root = pope_set(tmp_path)
    right = answers(tmp_path / "right.jsonl", LABELS)
    with pytest.raises(ScoringError, match="given twice"):
        score(root, ("random", right), ("random", right))
    (root / "coco_pope_mine.json").write_bytes((root / "coco_pope_random.json").read_bytes())
    with pytest.raises(ScoringError, match="must hold one of random, popular, adversarial"):
        score(root, ("mine", right))


def test_mme_result_files_are_scored_from_their_fourth_column(tmp_path: Path) -> None:
    said = ("Yes", "yes, it is", "No.", "Yes")
    (tmp_path / "color.txt").write_text("".join(f"{line}\t{text}\n" for line, text in zip(LINES, said, strict=True)))
    report = score_mme(tmp_path, BOOTSTRAP)
    assert report.measures["color/score"].value == 75.0 + 50.0
    (tmp_path / "count.txt").write_text("\n".join(LINES))
    with pytest.raises(ScoringError, match="4 lines have no fourth column"):
        score_mme(tmp_path, BOOTSTRAP)
    with pytest.raises(DataError):
        score_mme(tmp_path / "nothing", BOOTSTRAP)
    assert issubclass(ScoringError, LlavaflowError)
