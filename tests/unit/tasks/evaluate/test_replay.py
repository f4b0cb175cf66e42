"""A file of predictions is scored by its texts or its stored choices, and nothing in it goes unmentioned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import ScoringError
from tasks.evaluate.extraction import Rule
from tasks.evaluate.predictions import NOT_PARSED, Predictions
from tasks.evaluate.replay import Missing, Source, replay, size_note
from tasks.evaluate.scienceqa import Outcome
from tests.unit.tasks.evaluate.sets import HINTED, PLAIN, SEEN, UNSEEN, asked

FILE = Path("p.json")


def score(predictions: Predictions, source: Source, rule: Rule = Rule.LLAVA) -> dict[str, str]:
    result = replay(asked(), predictions, source, rule, Missing.ERROR)
    return {pid: marked.outcome.value for pid, marked in result.marked.items()}


def test_texts_are_read_by_the_rule() -> None:
    file = Predictions(FILE, texts={SEEN: "C", HINTED: "A", PLAIN: "(a)", UNSEEN: "E"})
    assert score(file, Source.OUTPUTS) == {SEEN: "right", HINTED: "wrong", PLAIN: "unparsed", UNSEEN: "unparsed"}
    assert score(file, Source.OUTPUTS, rule=Rule.LENIENT)[PLAIN] == "right"


def test_stored_choices_are_taken_as_they_are_and_never_drawn() -> None:
    file = Predictions(FILE, stored={SEEN: 2, HINTED: 0, PLAIN: NOT_PARSED, UNSEEN: 3})
    assert score(file, Source.STORED) == {SEEN: "right", HINTED: "wrong", PLAIN: "unparsed", UNSEEN: "unparsed"}


def test_missing_predictions_are_named_and_an_error_unless_asked_for() -> None:
    file = Predictions(FILE, texts={SEEN: "C", HINTED: "B"})
    with pytest.raises(ScoringError, match=r"lacks predictions for 2 of 4 questions: pid 3, 21; --missing wrong"):
        score(file, Source.OUTPUTS)
    result = replay(asked(), file, Source.OUTPUTS, Rule.LLAVA, Missing.WRONG)
    assert result.marked[PLAIN].outcome is Outcome.MISSING
    assert result.report.rates == {"unparsed": 0.0, "missing": 50.0}
    assert result.report.rows["avg"].value == 50.0
    assert "2 missing, counted as wrong: pid 3, 21" in result.report.notes


def test_a_source_that_the_file_lacks_names_the_other() -> None:
    with pytest.raises(ScoringError, match="holds no texts; score it with --from stored"):
        score(Predictions(FILE, stored={SEEN: 1}), Source.OUTPUTS)
    with pytest.raises(ScoringError, match="holds no stored choices; score it with --from outputs"):
        score(Predictions(FILE, texts={SEEN: "A"}), Source.STORED)


def test_the_report_counts_reasons_and_names_pids() -> None:
    file = Predictions(FILE, texts={SEEN: "E", HINTED: "B", PLAIN: "", UNSEEN: "B", "99": "A"})
    report = replay(asked(), file, Source.OUTPUTS, Rule.LLAVA, Missing.ERROR).report
    assert report.counts == {
        "questions": 4, "right": 2, "wrong": 0, "unparsed": 2, "missing": 0, "outside the choices": 1, "empty": 1,
        "not of this split": 1,
    }
    assert "2 unparsed, counted as wrong: pid 10, 3" in report.notes
    assert "1 of the unparsed name a letter outside the choices: pid 10" in report.notes
    assert report.settings["rule"] == "llava"


def test_a_rule_is_no_setting_of_stored_choices() -> None:
    file = Predictions(FILE, stored=dict.fromkeys(asked(), 1))
    assert replay(asked(), file, Source.STORED, Rule.LLAVA, Missing.ERROR).report.settings["rule"] is None


def test_only_a_set_that_is_too_small_is_called_so() -> None:
    assert "takes about" in size_note(4241, 3856)[0]
    assert size_note(20_000, 18_000) == ()
