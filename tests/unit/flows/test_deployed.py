from __future__ import annotations

import pytest

from flows.deployed import NEVER_BUILT_HERE, champion_evaluation, check_trained, promotion
from flows.plan import Plan, PlannedStage
from tasks.errors import ArtifactError, ConfigError


def planned(*missing: str) -> Plan:
    names = (*NEVER_BUILT_HERE, "evaluate", "register", "promote")
    stages = (PlannedStage(name=name, cached=name not in missing, reason="no such artifact") for name in names)
    return Plan(experiment="shapes", stages=tuple(stages), usd=0.0)


def test_a_promotion_may_evaluate_anew_but_builds_no_data_and_no_weights() -> None:
    check_trained(planned("evaluate", "register", "promote"), NEVER_BUILT_HERE)
    for stage in NEVER_BUILT_HERE:
        with pytest.raises(ArtifactError, match=f"^{stage} of shapes is not there .*pipeline/retrain"):
            check_trained(planned(stage), NEVER_BUILT_HERE)


def test_a_promotion_of_what_was_never_trained_is_refused_before_a_run_is_opened() -> None:
    with pytest.raises(ArtifactError, match="of shapes is not there"):
        promotion.fn("shapes")


def test_an_experiment_that_does_not_exist_is_refused() -> None:
    for flow in (promotion, champion_evaluation):
        with pytest.raises(ConfigError):
            flow.fn("no-such-experiment")
