"""What MLflow is told of the data."""

from __future__ import annotations

from flows.tracked import figures_of, texts_of
from tasks.artifacts import ConversationSet, MadeBy

MADE = ConversationSet(
    uri="u", digest="d", key="k", counts={"samples": 10, "rejected": 2},
    made_by=MadeBy(stage="generate", code="", config=""),
    facts={
        "teacher": "gpt-x", "usd_spent": 1.5, "usd_saved": 0.5, "usd_per_accepted": 0.2,
        "rejected_by_reason": {"leak": 2},
    },
)  # fmt: skip


def test_money_and_counts_of_the_data_are_figures_under_the_stage_s_name() -> None:
    assert figures_of("generate", MADE) == {
        "generate/samples": 10, "generate/rejected": 2, "generate/usd_spent": 1.5, "generate/usd_saved": 0.5,
        "generate/usd_per_accepted": 0.2,
    }


def test_who_was_asked_is_told_in_words() -> None:
    assert texts_of(MADE) == {"teacher": "gpt-x"}
