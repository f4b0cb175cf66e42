"""Several runs of a judge give mean and deviation, both orders cancel its favour for a place, failures stay out."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import EvaluateConfig, LlavaBenchConfig, ScriptedEndpoint
from tasks.evaluate.judge_runs import Verdict, judge_runs, needed_note, rows_of_runs
from tasks.evaluate.judging import Judgement, load_rules
from tasks.evaluate.llava_bench import BenchQuestion, load_bench, relative_rows
from tasks.evaluate.report import read_examples, read_report
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tests.fakes.models import Judge, Model
from tests.unit.tasks.evaluate.sets import bench_set


def questions(root: Path) -> list[BenchQuestion]:
    bench_set(root)
    return load_bench(root / "questions.jsonl", root / "context.jsonl", root / "answers_gpt4.jsonl")


def verdict(*runs: tuple[float, float] | None) -> Verdict:
    return Verdict(tuple((Judgement(scores, "words", 1),) for scores in runs))


def test_every_run_asks_anew_and_within_it_what_failed(tmp_path: Path) -> None:
    judge = Judge(lambda text, attempt: "well" if attempt == 1 and "#a" in text else f"8 {attempt}")
    answers = ["#a", "#b", "#b", "#b"]
    judged = judge_runs(judge, load_rules(), questions(tmp_path), answers, 2, lambda done: None)
    # Attempts are what tells requests apart for the ledger: no run may be served the answers of another.
    assert judge.rounds == [(1, 4), (2, 1), (4, 4)]
    assert [judged[0].of_run(0), judged[1].of_run(0), judged[1].of_run(1)] == [(8, 2), (8, 1), (8, 4)]
    assert judged[1].scores == (8.0, 2.5)


def test_a_judge_that_favours_the_first_place_favours_nobody_when_both_orders_count(tmp_path: Path) -> None:
    first_is_best = Judge(lambda text, attempt: "9 5")
    alone = judge_runs(first_is_best, load_rules(), questions(tmp_path), ["x"] * 4, 1, lambda done: None)
    both = judge_runs(first_is_best, load_rules(), questions(tmp_path), ["x"] * 4, 1, lambda done: None, swap=True)
    assert alone[0].scores == (9.0, 5.0)
    assert both[0].scores == (7.0, 7.0)
    assert (alone[0].turned, both[0].turned) == (0, 1)
    straight, swapped = (first_is_best.requests[at][-1].content for at in (4, 8))
    assert straight.index("Reference 0.") < straight.index("\nx\n")
    assert swapped.index("\nx\n") < swapped.index("Reference 0.")


def test_an_order_without_judgement_leaves_the_answer_without_scores_in_that_run(tmp_path: Path) -> None:
    judge = Judge(lambda text, attempt: None if text.index("\nx\n") < text.index("Reference") else "8 8")
    judged = judge_runs(judge, load_rules(), questions(tmp_path), ["x"] * 4, 1, lambda done: None, swap=True)
    assert judged[0].scores is None
    assert judged[0].failed == 1


def test_rows_are_the_mean_over_runs_with_their_deviation() -> None:
    conv = [("conv", verdict((8, 4), (8, 6))), ("conv", verdict((8, 8), (8, 8)))]
    judged = [*conv, ("detail", verdict((10, 5), (5, 5)))]
    rows = rows_of_runs(judged)
    # conv: 12 of 16 and 14 of 16; all: 17 of 26 and 19 of 21.
    assert rows["conv"].value == pytest.approx(100 * (12 / 16 + 14 / 16) / 2)
    assert rows["conv"].std == pytest.approx(100 * (14 / 16 - 12 / 16) / 2**0.5, abs=1e-5)
    assert rows["all"].value == pytest.approx(100 * (17 / 26 + 19 / 21) / 2, abs=1e-5)
    assert list(rows) == ["conv", "detail", "all"]


def test_one_run_has_the_rows_of_the_published_scripts_and_no_deviation() -> None:
    scores = [("conv", (8.0, 4.0)), ("detail", (9.0, 7.0)), ("conv", (7.0, 7.0)), ("complex", (8.0, 2.0))]
    rows = rows_of_runs([(category, verdict(pair)) for category, pair in scores], seed=5)
    assert rows == relative_rows(scores, seed=5)


def test_a_failed_judgement_is_in_no_mean() -> None:
    both = [("conv", verdict((8, 4), None)), ("conv", verdict((8, 8), (8, 8))), ("conv", verdict(None, None))]
    rows = rows_of_runs(both)
    assert rows["all"].value == pytest.approx(100 * (12 / 16 + 8 / 8) / 2)
    assert rows["all"].n == 2
    assert rows_of_runs([("conv", verdict((8, 4), None))])["all"].value is None


def test_a_set_that_is_too_small_for_a_point_says_how_many_it_would_take() -> None:
    wild = [verdict((8.0, model)) for model in (1.0, 9.0, 4.0, 8.0)]
    assert "here are 4" in next(iter(needed_note(wild)))
    assert list(needed_note([verdict((8.0, 4.0))] * 3)) == []
    assert list(needed_note([verdict(None)])) == []


def test_the_stage_reports_runs_and_orders(tmp_path: Path) -> None:
    bench_set(tmp_path / "bench")
    (tmp_path / "out").mkdir()
    own = LlavaBenchConfig(judge=ScriptedEndpoint(kind="scripted"), judge_runs=3, swap=True, max_failed_share=0.5)
    config = EvaluateConfig(llava_bench=own, blind=False, bootstrap=200)
    judge = Judge(lambda text, attempt: None if "Why is it so?" in text else f"9 {5 + (attempt - 1) // 3}")
    model = Model(lambda prompt: "x")
    built = build_evaluation(tmp_path / "out", {"llava_bench": tmp_path / "bench"}, config, model, judge, 0, Silent())
    part = read_report(tmp_path / "out").benchmarks["llava_bench"]
    assert part.rows["all"].std == 0.0  # both orders together always favour neither
    assert part.rows["all"].n == 3
    assert (part.settings["judge_runs"], part.settings["swap"]) == (3, True)
    assert built.counts["llava_bench/judged"] == 3 * 2 * 3
    assert built.counts["llava_bench/failed"] == 6
    assert any("9 of 12 times the judge preferred the other answer" in note for note in part.notes)
    first, _, failed, _ = read_examples(tmp_path / "out", "llava_bench")
    assert [(item.run, item.swapped) for item in first.sighted.judgements] == [
        (run, swapped) for run in (1, 2, 3) for swapped in (False, True)
    ]
    assert first.sighted.judgements[2].scores == (9.0, 6.0)
    assert first.sighted.judgements[3].scores == (6.0, 9.0)
    assert (failed.sighted.outcome, failed.sighted.reason) == ("failed", "timed out")
