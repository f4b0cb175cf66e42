from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from flows.last_words import show
from flows.outcome import Outcome, StageRecord, cause_of
from flows.tracked import curve, scores_of
from tasks.artifacts import EvalReport, MadeBy, Promotion
from tasks.errors import DataError
from tasks.report.inputs import Benchmark, Score

STAGES = (
    StageRecord(name="ingest", cached=True, reason="unchanged", seconds=0.2, detail="4,000 images"),
    StageRecord(name="align", cached=False, reason="changed: config stage.lr 0.1 -> 0.2", seconds=61.0),
)
OUTCOME = Outcome(
    run="shapes-1", experiment="shapes", tag="", status="finished", started="2026-11-22T13:05:09+00:00", seconds=75.0,
    folder="runs/shapes-1", stages=STAGES,
    benchmarks=(
        Benchmark(
            name="scienceqa",
            rows=(
                Score(name="avg", value=61.5, low=57.0, high=66.0, n=600, random=27.0, blind=33.3, whole=True),
                Score(name="img", value=None, n=0),
            ),
        ),
    ),
    decision=Promotion(
        verdict="hold", reasons=("scienceqa: too many [odd] answers",), challenger="3", champion_before="1",
        champion_after="1",
    ),
    report="runs/shapes-1/report.html", look={"models": "llavaflow models"},
)


def shown(outcome: Outcome) -> str:
    out = io.StringIO()
    show(outcome, Console(file=out, width=120))
    return out.getvalue()


def test_the_last_words_hold_stages_results_decision_and_where_to_look() -> None:
    text = shown(OUTCOME)
    for word in (
        "cached", "changed: config stage.lr 0.1 -> 0.2", "1 min 01 s", "61.5", "57.0 to 66.0", "33.3", "27.0",
        "withheld", "hold: version 3", "too many [odd] answers", "runs/shapes-1/report.html", "llavaflow models",
    ):  # fmt: skip
        assert word in text


def test_a_part_of_a_run_has_no_results_and_no_decision() -> None:
    text = shown(OUTCOME.model_copy(update={"benchmarks": (), "decision": None, "report": None}))
    assert "ingest" in text
    assert "hold" not in text and "report" not in text


def test_causes_are_one_line_and_only_foreign_ones_are_named() -> None:
    assert cause_of(DataError("there is\nno data")) == "there is no data"
    assert cause_of(ValueError("bad")) == "ValueError: bad"
    assert cause_of(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_money_is_known_only_where_somebody_was_asked() -> None:
    paid = STAGES[0].model_copy(update={"facts": {"usd_spent": 0.25}})
    assert (paid.usd, STAGES[0].usd) == (0.25, None)


def test_figures_of_a_stage_that_trains_two_parts_carry_their_names(tmp_path: Path) -> None:
    rows = [{"part": "vision", "step": 1, "loss": 2.0}, {"part": "language", "step": 1, "loss": 3.0}]
    (tmp_path / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(curve(tmp_path, "base")) == [{"step": 1, "vision/loss": 2.0}, {"step": 1, "language/loss": 3.0}]
    assert list(curve(tmp_path, "evaluate")) == []


def test_an_evaluation_s_scores_are_figures() -> None:
    made_by = MadeBy(stage="evaluate", code="", config="")
    report = EvalReport(
        uri="", digest="", key="", counts={"n": 2}, facts={"scores": {"scienceqa/avg": 50.0}}, made_by=made_by
    )
    assert scores_of(report) == {"n": 2, "scienceqa/avg": 50.0}
