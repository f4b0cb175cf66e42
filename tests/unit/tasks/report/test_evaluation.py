"""The report shows topics, the ensemble beside the published table, and every answer that could not be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.evaluate.published import SCIENCEQA
from tasks.evaluate.report import Answered, Example, write_examples
from tasks.evaluate.scienceqa import COLUMNS as OFFICIAL
from tasks.report.evaluation import CAPTIONS_SHOWN, COLUMNS, UNREAD_SHOWN, read_details
from tasks.report.inputs import ReportInput
from tasks.report.page import render
from tests.fakes.evaluations import evaluation
from tests.fakes.report_input import report_input
from tests.unit.tasks.report.test_page import Page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return report_input(tmp_path_factory.mktemp("report"), questions=120, images=6, steps=60)


def test_the_columns_are_the_official_ones() -> None:
    assert COLUMNS == OFFICIAL


def test_our_rows_stand_beside_every_published_one(report: ReportInput) -> None:
    (table,) = report.details.ensembles
    assert [row.name for row in table.rows if not row.published] == [
        "This model", "The text-only LLM", "Ensemble, judge",
    ]
    assert [row.name for row in table.rows if row.published] == list(SCIENCEQA)
    assert sum(branch.count for branch in table.branches) == 120
    assert not table.comparable
    said = " ".join(" ".join(Page(render(report)).text).split())
    assert "LLaVA + GPT-4 judge published 91.56" in said
    assert "which these are not" in said


def test_topics_have_bars_and_pope_its_measures(report: ReportInput) -> None:
    topics = {part.benchmark: part for part in report.details.topics}
    assert sum(row.n for row in topics["scienceqa"].rows) == 120
    assert "mean/f1" in {measure.name for measure in topics["pope"].measures}
    text = render(report)
    assert text.count('class="bar"') > len(topics["scienceqa"].rows)
    assert "mean, f1" in text


def test_what_could_not_be_read_is_listed_and_counted(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", questions=60, bench=4, scored=lambda index: None)
    file = folder / "examples" / "scienceqa.jsonl"
    file.write_text(file.read_text().replace('"outcome":"right"', '"outcome":"unparsed"'))
    details = read_details(folder)
    assert (len(details.unread), details.unread_in_all) == (UNREAD_SHOWN, 64)
    page = render(ReportInput(experiment="x", run="y", details=details))
    assert "40 of 64" in " ".join(Page(page).text)


def test_captions_stand_beside_their_photos_and_boxes(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e", questions=6)
    said = Answered(text="A <dog> on grass", outcome="right", choice="dog")
    blind = Answered(text="A man", outcome="wrong", choice="person")
    write_examples(
        folder, "captions",
        [
            Example(
                id=f"{number:03}", image=None, prompt="<image>\nWhat?", correct="cow, dog", groups=(),
                sighted=said if number % 2 else blind, blind=blind,
            )
            for number in range(50)
        ],
    )
    details = read_details(folder)
    assert len(details.captions) == CAPTIONS_SHOWN
    assert {one.right for one in details.captions} == {True, False}
    page = render(ReportInput(experiment="x", run="y", details=details))
    told = " ".join(" ".join(Page(page).text).split())
    assert "A <dog> on grass" in told
    assert "Boxes: cow, dog" in told
    assert "captions" in Page(page).ids


def test_an_evaluation_without_any_of_it_adds_nothing(tmp_path: Path) -> None:
    details = read_details(evaluation(tmp_path / "e", questions=6))
    assert (details.ensembles, details.unread, details.unread_in_all) == ((), (), 0)
    page = render(ReportInput(experiment="x", run="y", details=details))
    assert not {"ensemble", "topics", "unparsed"} & set(Page(page).ids)
