"""The gate promotes what is shown to be no worse, holds what is not, and says why."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.schema import GateConfig
from tasks.errors import ArtifactError, ConfigError
from tasks.evaluate.report import read_report
from tasks.register.comparison import Pair, difference, examples_to_find
from tasks.register.evidence import Benchmark, Case, Evidence, Result, Row, Surroundings, read_evidence
from tasks.register.gate import comparable, decide
from tasks.register.verdict import Verdict
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


BETTER = GateConfig(rule="better", margin=1.0, detectable_gain=5.0, power=0.8, level=0.05)
SIMULATED = 2000
GAINS, LOSSES = 0.10, 0.05
"""Shares won and lost of a model that is better by the detectable gain of BETTER."""


def promoted_of_simulated(gains: float, losses: float, n: int) -> float:
    """Share of simulated pairs of models that the whole gate promotes under the rule `better`."""
    cases = {hit: Case(question="q", groups=(), result=Result(points=float(hit), of=1.0)) for hit in (True, False)}
    rng, config = np.random.default_rng(17), BETTER.model_copy(update={"margin": 100.0})
    kinds = np.array([[True, False], [False, True], [True, True], [False, False]])
    shares = [gains, losses, 0.7 * (1 - gains - losses), 0.3 * (1 - gains - losses)]
    promoted = 0
    for trial in range(SIMULATED):
        drawn = kinds[rng.choice(4, n, p=shares)]
        ours, theirs = [
            Evidence(
                checkpoint=name, evaluation=name,
                benchmarks={
                    "scienceqa": Benchmark.model_construct(
                        rows={"avg": Row(value=100 * float(side.mean()), n=n)}, rates={}, settings={},
                        cases={str(index): cases[bool(hit)] for index, hit in enumerate(side)},
                    )
                },
            )
            for name, side in zip(("ours", "theirs"), drawn.T, strict=True)
        ]
        promoted += decide(ours, theirs, config, trial, resamples=1000).verdict == "promote"
    return promoted / SIMULATED


@pytest.mark.parametrize("differing", [0.3, 0.08])
def test_of_equal_models_no_more_are_promoted_as_better_than_the_level_says(differing: float) -> None:
    assert promoted_of_simulated(differing / 2, differing / 2, n=150) <= BETTER.level


def test_a_true_gain_of_the_size_the_config_names_is_promoted_at_the_stated_power() -> None:
    n = examples_to_find(BETTER.detectable_gain, GAINS + LOSSES, BETTER.level, BETTER.power)
    assert 300 < n < 500
    two_errors = 2 * (BETTER.power * (1 - BETTER.power) / SIMULATED) ** 0.5
    assert promoted_of_simulated(GAINS, LOSSES, n) >= BETTER.power - two_errors


# ---------------------------------------------------------------------------------------------------- better


def won(gains: int, losses: int, n: int = 400) -> tuple[Evidence, Evidence]:
    """Challenger and champion: so many examples won and lost, half of the rest right on both sides."""
    rest = n - gains - losses
    ours = [True] * gains + [False] * losses + [index % 2 == 0 for index in range(rest)]
    theirs = [False] * gains + [True] * losses + [index % 2 == 0 for index in range(rest)]
    return evidence(ours), evidence(theirs, "champion")


def test_under_the_rule_better_no_worse_is_not_enough() -> None:
    same, gain = won(1, 1), won(60, 10)
    assert decide(*same, GateConfig(margin=3.0), 0).verdict == "promote"
    verdict = decide(*same, GateConfig(margin=3.0, rule="better"), 0)
    assert verdict.verdict == "hold" and held_by(verdict) == {"improvement"}
    assert "a gain is not shown (+0.0 points" in verdict.sentences()[0]
    assert "one of 5 is found 80% of the time from" in verdict.sentences()[0]
    assert decide(*gain, GateConfig(rule="better"), 0).verdict == "promote"


def test_a_gain_on_one_benchmark_does_for_all_and_has_to_be_the_surer_for_it() -> None:
    config = GateConfig(rule="better", margin=5.0, level=0.05)

    def both(second: tuple[Evidence, Evidence]) -> str:
        first = won(29, 15)
        ours, theirs = [
            Evidence(
                checkpoint=one.checkpoint, evaluation=one.evaluation,
                benchmarks={"a": one.benchmarks["scienceqa"], "b": other.benchmarks["scienceqa"]},
            )
            for one, other in zip(first, second, strict=True)
        ]
        return decide(ours, theirs, config, 0).verdict

    assert decide(*won(29, 15), config, 0).verdict == "promote", "one benchmark alone: p is below the level"
    assert both(won(3, 3)) == "hold", "as one of two it is not below half of it"
    assert both(won(60, 10)) == "promote"


# ---------------------------------------------------------------------------------------------------- a person


def test_a_person_is_asked_about_doubt_alone_or_about_everything_that_would_pass() -> None:
    doubtful, sure, worse = won(30, 34), won(60, 10), won(10, 60)
    configs = {name: GateConfig.model_validate({"approval": name}) for name in ("never", "when_uncertain", "always")}
    asked = {
        name: [decide(*pair, config, 0).verdict for pair in (doubtful, sure, worse)]
        for name, config in configs.items()
    }
    assert asked == {
        "never": ["hold", "promote", "hold"],
        "when_uncertain": ["needs_approval", "promote", "hold"],
        "always": ["needs_approval", "needs_approval", "hold"],
    }
    verdict = decide(*doubtful, GateConfig(approval="when_uncertain"), 0)
    assert verdict.sentences()[-1] == "gate.approval is when_uncertain: a person decides"


def test_a_person_is_not_asked_about_what_fails_a_floor_nor_about_the_champion_s_own_weights() -> None:
    config = GateConfig(approval="always", floors={"scienceqa/avg": 99.0})
    assert decide(*won(60, 10), config, 0).verdict == "hold"
    same = evidence([True] * 20)
    assert decide(same, same, GateConfig(approval="always"), 0).verdict == "promote"
    assert decide(same, None, GateConfig(approval="always"), 0).verdict == "needs_approval"
    assert decide(same, None, GateConfig(approval="when_uncertain"), 0).verdict == "promote"


# ---------------------------------------------------------------------------------------------------- surroundings


def test_a_training_image_in_a_test_set_holds_the_model() -> None:
    model = evidence([True] * 20)
    verdict = decide(model, None, GateConfig(), 0, Surroundings(overlap=3))
    assert verdict.verdict == "hold" and held_by(verdict) == {"overlap"}
    assert "3 training images occur in the test sets" in verdict.sentences()[0]
    assert decide(model, None, GateConfig(), 0, Surroundings(overlap=0)).verdict == "promote"


@pytest.mark.parametrize(
    ("ceiling", "check", "below", "above"),
    [
        ({"max_teacher_usd": 10.0}, "cost", {"teacher_usd": 10.0}, {"teacher_usd": 10.5}),
        ({"max_seconds_per_answer": 1.0}, "latency", {"seconds_per_answer": 0.5}, {"seconds_per_answer": 1.5}),
        ({"max_weight_bytes": 1_000_000}, "size", {"weight_bytes": 10}, {"weight_bytes": 1_000_001}),
    ],
)
def test_a_ceiling_holds_what_is_above_it_or_not_known(
    ceiling: dict[str, Any], check: str, below: dict[str, Any], above: dict[str, Any]
) -> None:
    model, config = evidence([True] * 20), GateConfig(**ceiling)
    assert decide(model, None, config, 0, Surroundings(**below)).verdict == "promote"
    for found in (Surroundings(**above), Surroundings()):
        verdict = decide(model, None, config, 0, found)
        assert verdict.verdict == "hold" and held_by(verdict) == {check}


def test_only_models_measured_alike_are_comparable() -> None:
    ours, theirs = won(3, 3)
    assert comparable(ours, theirs)
    assert not comparable(ours, evidence([True] * 7, "champion"))
    assert comparable(ours, ours)


# ---------------------------------------------------------------------------------------------------- reading


def test_the_flat_map_is_that_of_the_evaluation(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=60, right=lambda index: index % 5 > 0, bench=9)
    assert read(folder, "a").scores() == read_report(folder).scores()


def test_an_evaluation_that_is_damaged_is_refused(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=3, right=always)
    (folder / "examples" / "scienceqa.jsonl").write_text('{"id": "q1"}\n')
    with pytest.raises(ArtifactError, match="cannot be read"):
        read(folder, "a")
