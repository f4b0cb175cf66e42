"""A person's answer moves the alias or holds it, once, and only while it is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.errors import RegistryError
from tasks.register.approval import approve, reject
from tasks.register.promote import promote
from tasks.register.settle import settle
from tasks.register.verdict import Reason, Verdict
from tests.fakes.registries import Clock, Killed, desk, events

ASKS = Verdict(
    verdict="needs_approval", reasons=(Reason(ok=False, check="overall", text="not ruled out", doubt=True),)
)
YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))


def test_a_question_is_asked_once_and_moves_nothing() -> None:
    at, registry, audit, _ = desk("1")
    for _ in range(2):
        done = promote(at, "2", ASKS, "1", hours=2)
        assert (done.verdict, done.champion_after, registry.pointed) == ("needs_approval", "1", "1")
    (asked,) = audit.kept
    assert (asked.event, asked.before, asked.after, asked.run) == ("waits", "1", "2", "r1")
    assert asked.until == "2026-11-22T14:00:00+00:00" and registry.tags["2"]["decision"] == "needs_approval"


def test_yes_promotes_by_the_usual_steps_and_the_trail_says_who_when_and_why() -> None:
    at, registry, audit, _ = desk("1")
    promote(at, "2", ASKS, "1")
    done = approve(replace(at, who="grace", run=""), "r1", "its losses are typing errors").promotion
    assert (done.verdict, done.champion_before, registry.pointed) == ("promote", "1", "2")
    assert events(audit) == ["waits", "approved", "intent", "done"]
    answer = audit.kept[1]
    assert (answer.who, answer.run, answer.reasons) == ("grace", "r1", ("its losses are typing errors",))
    assert registry.tags["2"]["decision"] == "promote"
    assert registry.tags["2"]["reasons"] == "approved by grace: its losses are typing errors\nnot ruled out"


def test_no_holds_and_stays_no_when_the_run_is_resumed() -> None:
    at, registry, audit, _ = desk("1")
    promote(at, "2", ASKS, "1")
    assert reject(replace(at, who="grace"), "r1", "too slow").promotion.verdict == "hold"
    resumed = promote(replace(at, run="r2"), "2", ASKS, "1")
    assert resumed.verdict == "hold" and resumed.reasons[0] == "rejected by grace: too slow"
    assert registry.pointed == "1" and registry.tags["2"]["decision"] == "hold"
    assert events(audit) == ["waits", "rejected", "held"]


def test_a_run_that_is_resumed_after_yes_finds_its_version_the_champion() -> None:
    at, _, audit, _ = desk("1")
    promote(at, "2", ASKS, "1")
    approve(at, "r1", "fine")
    before = list(audit.kept)
    resumed = promote(replace(at, run="r2"), "2", ASKS, "1")
    assert (resumed.verdict, resumed.champion_after) == ("promote", "2") and audit.kept == before


def test_an_approval_for_a_run_that_does_not_wait_is_an_error() -> None:
    at, registry, _, _ = desk("1")
    with pytest.raises(RegistryError, match="run r1 does not wait for approval; waiting: none"):
        approve(at, "r1", "yes")
    promote(at, "2", ASKS, "1")
    with pytest.raises(RegistryError, match="run r7 does not wait for approval; waiting: r1"):
        reject(at, "r7", "no")
    reject(at, "r1", "no")
    with pytest.raises(RegistryError, match=r"it was rejected by ada at 2026.* \(no\)"):
        approve(at, "r1", "yes")
    assert registry.pointed == "1"


def test_a_second_yes_after_the_alias_has_gone_on_is_an_error() -> None:
    at, registry, _, _ = desk("1")
    promote(at, "2", ASKS, "1")
    approve(at, "r1", "fine")
    promote(at, "3", YES, "2")
    with pytest.raises(RegistryError, match="it was approved by ada"):
        approve(at, "r1", "fine")
    assert registry.pointed == "3"


def test_a_yes_to_a_comparison_with_another_champion_is_refused() -> None:
    at, registry, _, _ = desk("1")
    promote(at, "2", ASKS, "1")
    promote(replace(at, run="r2"), "3", YES, "1")
    with pytest.raises(RegistryError, match="champion is version 3, but version 2 was compared with version 1"):
        approve(at, "r1", "yes")
    assert registry.pointed == "3"


def test_when_nobody_answers_in_time_the_answer_is_no() -> None:
    clock = Clock()
    at, registry, audit, _ = desk("1", clock)
    promote(at, "2", ASKS, "1", hours=1)
    clock.time = "2026-11-22T12:59:59+00:00"
    settle(at)
    assert events(audit) == ["waits"]
    clock.time = "2026-11-22T13:00:00+00:00"
    with pytest.raises(RegistryError, match="it was rejected by time limit"):
        approve(at, "r1", "yes")
    assert registry.pointed == "1" and registry.tags["2"]["decision"] == "hold"
    assert promote(at, "2", ASKS, "1").reasons[0] == "rejected by time limit: nobody answered in time"


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(6))  # approved, intent, alias, two tags, outcome
def test_killed_at_any_step_of_a_yes_and_told_again_it_ends_promoted_once(step: int, after_effect: bool) -> None:
    at, registry, audit, steps = desk("1")
    promote(at, "2", ASKS, "1")
    steps.kill_at, steps.after_effect = steps.count + step, after_effect
    with pytest.raises(Killed):
        approve(at, "r1", "fine")
    assert registry.pointed in {"1", "2"}
    steps.kill_at = None
    approve(at, "r1", "fine")
    assert registry.pointed == "2" and events(audit).count("approved") == 1
    assert [record.after for record in audit.kept if record.event == "done"] == ["2"]


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(2))
def test_killed_at_any_step_of_a_no_and_told_again_it_is_held_once(step: int, after_effect: bool) -> None:
    at, registry, audit, steps = desk("1")
    promote(at, "2", ASKS, "1")
    steps.kill_at, steps.after_effect = steps.count + step, after_effect
    with pytest.raises(Killed):
        reject(at, "r1", "no")
    steps.kill_at = None
    if "rejected" not in events(audit):
        reject(at, "r1", "no")
    assert events(audit) == ["waits", "rejected"] and registry.tags["2"]["decision"] == "hold"
