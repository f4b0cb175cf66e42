"""The gate promotes what is shown to be no worse, holds what is not, and says why."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from configs.schema import GateConfig
from tasks.errors import ArtifactError, ConfigError
from tasks.evaluate.report import read_report
from tasks.register.comparison import Pair, difference
from tasks.register.evidence import Benchmark, Case, Evidence, Result, Row, read_evidence
from tasks.register.gate import Verdict, decide
from tests.fakes.evaluations import JUDGE, SETTINGS, always, evaluation

CONFIG = GateConfig(margin=1.0, category_margin=5.0, level=0.05)


def evidence(
    right: Sequence[bool], name: str = "challenger", groups: Sequence[tuple[str, ...]] | None = None,
    unparsed: float = 0.0,
) -> Evidence:
    """Evidence of one benchmark without any files."""
    share = 100 * sum(right) / len(right)
    cases = {
        str(index): Case(
            question=f"q{index}", groups=groups[index] if groups else (), result=Result(points=float(hit), of=1.0)
        )
        for index, hit in enumerate(right)
    }
    benchmark = Benchmark(
        rows={"avg": Row(value=share, n=len(right))}, rates={"unparsed": unparsed}, settings=SETTINGS, cases=cases
    )
    return Evidence(checkpoint=name, evaluation=name, benchmarks={"scienceqa": benchmark})


def read(folder: Path, name: str) -> Evidence:
    return read_evidence(folder, name, f"evaluation of {name}")


def held_by(verdict: Verdict) -> set[str]:
    return {reason.check for reason in verdict.reasons if not reason.ok}


# ---------------------------------------------------------------------------------------------------- by itself


def test_the_first_model_needs_only_the_floors() -> None:
    floors = GateConfig(floors={"scienceqa/avg": 60.0})
    assert decide(evidence([True] * 70 + [False] * 30), None, floors, 0).verdict == "promote"
    verdict = decide(evidence([True] * 50 + [False] * 50), None, floors, 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"floor"}
    assert verdict.sentences()[0] == "scienceqa/avg is 50.0, at least 60 required"


def test_a_floor_on_a_score_that_was_not_measured_names_the_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"'scienceqa/average', which was not measured; there is: scienceqa/avg"):
        decide(evidence([True]), None, GateConfig(floors={"scienceqa/average": 1.0}), 0)


def test_too_many_unreadable_answers_hold() -> None:
    verdict = decide(evidence([True] * 10, unparsed=30.0), None, GateConfig(max_unparsed=0.2), 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"unparsed"}


def test_too_many_failed_judgements_hold_and_a_withheld_score_fails_its_floor(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=30, bench=9, scored=lambda _: None, failed=100.0)
    found = read(folder, "a")
    assert found.known()["llava_bench/all"] is None and "llava_bench/all" not in found.scores()
    verdict = decide(found, None, GateConfig(floors={"llava_bench/all": 10.0}), 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"floor", "judge"}


# ---------------------------------------------------------------------------------------------------- against it


def test_a_much_better_model_is_promoted_and_a_much_worse_one_held(tmp_path: Path) -> None:
    good = read(evaluation(tmp_path / "good", questions=400, bench=60), "good")
    bad = read(
        evaluation(
            tmp_path / "bad", questions=400, right=lambda index: index % 4 != 0, bench=60, scored=lambda _: (8.0, 4.0)
        ),
        "bad",
    )
    assert decide(good, bad, CONFIG, 0).verdict == "promote"
    verdict = decide(bad, good, CONFIG, 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"overall", "category"}
    whole = {row.name: row for row in verdict.compared if row.whole}
    assert whole["scienceqa/avg"].difference == pytest.approx(-25.0)
    assert whole["llava_bench/all"].difference == pytest.approx(100 * 4 / 8 - 100 * 7 / 8)


def test_the_same_evidence_gives_the_same_verdict() -> None:
    rng = random.Random(3)
    first = evidence([rng.random() < 0.8 for _ in range(200)])
    second = evidence([rng.random() < 0.8 for _ in range(200)], "champion")
    assert decide(first, second, CONFIG, 5) == decide(first, second, CONFIG, 5)


def test_the_champion_itself_is_not_held_for_being_no_better() -> None:
    same = evidence([True] * 20)
    verdict = decide(same, same, CONFIG, 0)
    assert verdict.verdict == "promote" and "nothing to compare" in " ".join(verdict.sentences())


def test_a_gain_in_one_category_cannot_hide_a_loss_in_another() -> None:
    groups = [("nat",)] * 300 + [("soc",)] * 100
    champion = evidence([index % 10 > 3 for index in range(300)] + [True] * 100, "champion", groups)
    challenger = evidence([True] * 300 + [index % 5 > 0 for index in range(100)], "challenger", groups)
    verdict = decide(challenger, champion, CONFIG, 0)
    assert held_by(verdict) == {"category"}
    (reason,) = (reason for reason in verdict.reasons if not reason.ok)
    assert reason.text.startswith("scienceqa/soc: -20.0 points to the champion")


def test_another_question_under_the_same_id_is_another_example(tmp_path: Path) -> None:
    ours = read(evaluation(tmp_path / "ours", questions=30, salt=" of the new world"), "ours")
    theirs = read(evaluation(tmp_path / "theirs", questions=30), "theirs")
    verdict = decide(ours, theirs, CONFIG, 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"examples"} and verdict.compared == ()
    assert "only 0 examples are the same" in verdict.sentences()[0]


@pytest.mark.parametrize(
    ("settings", "judge"), [({**SETTINGS, "rule": "lenient"}, JUDGE), (SETTINGS, {**JUDGE, "judge": "other"})]
)
def test_other_rules_or_another_judge_hold(tmp_path: Path, settings: dict[str, str], judge: dict[str, str]) -> None:
    ours = read(evaluation(tmp_path / "ours", questions=30, bench=9, settings=settings, judge=judge), "ours")
    theirs = read(evaluation(tmp_path / "theirs", questions=30, bench=9), "theirs")
    assert held_by(decide(ours, theirs, CONFIG, 0)) == {"rules"}


def test_another_seed_of_the_intervals_is_no_other_rule(tmp_path: Path) -> None:
    ours = read(evaluation(tmp_path / "ours", questions=30, settings={**SETTINGS, "bootstrap_seed": 1}), "ours")
    theirs = read(evaluation(tmp_path / "theirs", questions=30, settings={**SETTINGS, "bootstrap_seed": 2}), "theirs")
    assert "rules" not in held_by(decide(ours, theirs, CONFIG, 0))


def test_a_benchmark_that_only_the_champion_took_holds(tmp_path: Path) -> None:
    ours = read(evaluation(tmp_path / "ours", questions=30), "ours")
    theirs = read(evaluation(tmp_path / "theirs", questions=30, bench=9), "theirs")
    assert held_by(decide(ours, theirs, CONFIG, 0)) == {"examples"}


def test_examples_that_failed_on_one_side_are_left_out_on_both(tmp_path: Path) -> None:
    ours = read(
        evaluation(tmp_path / "ours", bench=30, scored=lambda index: None if index < 3 else (8.0, 7.5), failed=10.0),
        "ours",
    )
    theirs = read(evaluation(tmp_path / "theirs", bench=30), "theirs")
    verdict = decide(ours, theirs, CONFIG, 0)
    assert {row.name: row.n for row in verdict.compared if row.whole} == {"scienceqa/avg": 300, "llava_bench/all": 27}
    assert any("27 of 30 examples, judged for both" in text for text in verdict.sentences())


# ---------------------------------------------------------------------------------------------------- simulations


def paired(rng: random.Random, n: int, gains: float, losses: float) -> list[Pair]:
    """Examples of which a share is won and a share lost; on the rest both agree."""
    hit, miss = Result(points=1.0, of=1.0), Result(points=0.0, of=1.0)
    kinds = rng.choices(
        [Pair(hit, miss), Pair(miss, hit), Pair(hit, hit), Pair(miss, miss)],
        [gains, losses, 0.7 * (1 - gains - losses), 0.3 * (1 - gains - losses)],
        k=n,
    )
    return kinds


def share_promoted(gains: float, losses: float, margin: float, *, n: int = 250, times: int = 250) -> float:
    rng = random.Random(11)
    found = [
        difference(paired(rng, n, gains, losses), margin=margin, level=0.05, resamples=400, seed=trial).low > -margin
        for trial in range(times)
    ]
    return sum(found) / times


@pytest.mark.parametrize(("gains", "losses", "margin"), [(0.05, 0.05, 0.0), (0.02, 0.02, 0.0), (0.05, 0.10, 5.0)])
def test_a_model_at_the_edge_of_the_margin_passes_no_more_often_than_the_level(
    gains: float, losses: float, margin: float
) -> None:
    assert share_promoted(gains, losses, margin) <= 0.05 + 0.028  # two standard errors of 250 trials


def test_a_model_with_a_real_gain_passes_nearly_always() -> None:
    assert share_promoted(0.10, 0.02, 0.0) >= 0.9


def test_equal_models_are_seldom_held_for_one_of_many_categories() -> None:
    rng = random.Random(5)
    groups = [(f"g{index % 8}",) for index in range(240)]
    alarms = 0
    for trial in range(60):
        pairs = paired(rng, 240, 0.08, 0.08)
        ours = evidence([pair.challenger.points > 0 for pair in pairs], "ours", groups)
        theirs = evidence([pair.champion.points > 0 for pair in pairs], "theirs", groups)
        alarms += "category" in held_by(decide(ours, theirs, GateConfig(category_margin=0.0), trial, resamples=400))
    assert alarms / 60 <= 0.05 + 0.056


# ---------------------------------------------------------------------------------------------------- reading


def test_the_flat_map_is_that_of_the_evaluation(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=60, right=lambda index: index % 5 > 0, bench=9)
    assert read(folder, "a").scores() == read_report(folder).scores()


def test_an_evaluation_that_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=3, right=always)
    (folder / "examples" / "scienceqa.jsonl").write_text('{"id": "q1"}\n')
    with pytest.raises(ArtifactError, match="cannot be read"):
        read(folder, "a")
