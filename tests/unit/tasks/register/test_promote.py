"""The alias moves with a precondition and a trail, and no crash leaves it in between."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord, JsonlAudit
from tasks.register.lock import Hold
from tasks.register.promote import promote, rollback, withdraw
from tasks.register.settle import history, settle
from tasks.register.verdict import Reason, Verdict
from tests.fakes.registries import Killed, Unreachable, desk, events

YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
NO = Verdict(
    verdict="hold",
    reasons=(Reason(ok=True, check="floor", text="high enough"), Reason(ok=False, check="overall", text="worse")),
)


def test_a_promotion_moves_the_alias_and_leaves_intent_and_outcome() -> None:
    at, registry, audit, _ = desk("1")
    done = promote(at, "2", YES, "1")
    assert (done.verdict, done.champion_before, done.champion_after) == ("promote", "1", "2")
    assert registry.pointed == "2"
    assert registry.tags["2"] == {"decision": "promote", "reasons": "no worse", "champion_before": "1"}
    intent, outcome = audit.kept
    assert (intent.event, outcome.event, intent.intent) == ("intent", "done", outcome.intent)
    assert (outcome.before, outcome.after, outcome.who, outcome.run, outcome.reasons) == (
        "1", "2", "ada", "r1", ("no worse",),
    )


def test_on_hold_the_alias_stays_and_the_version_says_why() -> None:
    at, registry, audit, _ = desk("1")
    done = promote(at, "2", NO, "1")
    assert (done.verdict, done.champion_after, registry.pointed) == ("hold", "1", "1")
    assert registry.tags["2"] == {"decision": "hold", "reasons": "worse\nhigh enough"}
    promote(at, "2", NO, "1")
    assert events(audit) == ["held"]


def test_another_champion_than_the_one_compared_with_stops_it() -> None:
    at, registry, audit, _ = desk("3")
    with pytest.raises(RegistryError, match="champion is version 3, but version 2 was compared with version 1"):
        promote(at, "2", YES, "1")
    assert registry.pointed == "3" and audit.kept == []


def test_the_first_champion_expects_none() -> None:
    at, registry, _, _ = desk(None)
    assert promote(at, "1", YES, None).champion_after == registry.pointed == "1"


def test_promoting_the_champion_again_changes_nothing() -> None:
    at, registry, audit, _ = desk(None)
    promote(at, "1", YES, None)
    before = list(audit.kept)
    assert promote(at, "1", YES, "1").champion_after == "1"
    assert audit.kept == before and registry.pointed == "1"


EFFECTS = 5  # intent, alias, two tags, outcome


def test_the_number_of_effects_is_known() -> None:
    at, _, _, steps = desk("1")
    promote(at, "2", YES, "1")
    assert steps.count == EFFECTS


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(EFFECTS))
def test_killed_at_any_step_and_started_again_it_ends_promoted_once(step: int, after_effect: bool) -> None:
    at, registry, audit, steps = desk("1")
    steps.kill_at, steps.after_effect = step, after_effect
    with pytest.raises(Killed):
        promote(at, "2", YES, "1")
    assert registry.pointed in {"1", "2"}
    steps.kill_at = None
    expected = registry.pointed  # what a pipeline that is started again compares with
    promote(at, "2", YES, expected)
    assert registry.pointed == "2"
    assert registry.tags["2"] == {"decision": "promote", "reasons": "no worse", "champion_before": "1"}
    done = [record for record in audit.kept if record.event == "done"]
    assert [(record.before, record.after) for record in done] == [("1", "2")]
    assert "moved" not in events(audit)
    assert events(audit).count("intent") == len(done) + events(audit).count("abandoned")


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(EFFECTS))
def test_killed_at_any_step_and_never_started_again_the_next_one_settles_it(step: int, after_effect: bool) -> None:
    at, registry, audit, steps = desk("1")
    steps.kill_at, steps.after_effect = step, after_effect
    with pytest.raises(Killed):
        promote(at, "2", YES, "1")
    steps.kill_at = None
    settle(at)
    settle(at)
    if audit.kept:
        assert audit.kept[-1].after == registry.pointed
        assert events(audit).count("intent") == 1 and len(audit.kept) == 2


def test_killed_while_settling_it_settles_the_next_time() -> None:
    for step in range(3):
        at, registry, audit, steps = desk("1")
        steps.kill_at = 3  # the alias is moved, the tags are not
        with pytest.raises(Killed):
            promote(at, "2", YES, "1")
        steps.kill_at = steps.count + step
        with pytest.raises(Killed):
            settle(at)
        steps.kill_at = None
        settle(at)
        assert events(audit) == ["intent", "done"] and registry.tags["2"]["decision"] == "promote"


def test_rollback_goes_back_by_the_same_steps_and_not_back_and_forth() -> None:
    at, registry, audit, _ = desk(None)
    promote(at, "1", YES, None)
    promote(at, "2", YES, "1")
    promote(at, "3", YES, "2")
    assert rollback(at, reason="it dreams of ships").champion_after == registry.pointed == "2"
    assert audit.kept[-1].action == "rollback" and audit.kept[-1].reasons == ("it dreams of ships",)
    assert rollback(at).champion_after == "1"
    with pytest.raises(RegistryError, match="no champion before version 1"):
        rollback(at)
    assert rollback(at, to="3").champion_after == registry.pointed == "3"


def test_an_alias_that_was_moved_by_hand_is_noticed() -> None:
    at, registry, audit, _ = desk(None)
    promote(at, "1", YES, None)
    registry.pointed = "7"
    assert history(at)[-1].event == "moved" and events(audit) == ["intent", "done"]
    promote(at, "8", YES, "7")
    moved = audit.kept[2]
    assert (moved.event, moved.before, moved.after) == ("moved", "1", "7")
    assert [record.event for record in history(at)] == ["intent", "done", "moved", "intent", "done"]


def test_an_alias_that_vanished_is_noticed_and_the_next_model_is_a_first_one() -> None:
    at, registry, audit, _ = desk(None)
    promote(at, "1", YES, None)
    registry.pointed = None
    assert promote(at, "2", YES, None).champion_after == "2"
    assert (audit.kept[2].event, audit.kept[2].after) == ("moved", None)


# ---------------------------------------------------------------------------------------------------- taken back


def test_what_does_not_answer_as_it_was_registered_goes_back_by_itself_and_stays_back() -> None:
    at, registry, audit, _ = desk(None)
    promote(at, "1", YES, None)
    promote(at, "2", YES, "1")
    back = withdraw(at, "2", "2 of 3 canary answers differ")
    assert back is not None and (back.verdict, back.champion_after, registry.pointed) == ("hold", "1", "1")
    assert events(audit)[-3:] == ["alert", "intent", "done"]
    assert registry.tags["2"]["decision"] == "hold"
    again = promote(at, "2", YES, "1")
    assert again.verdict == "hold" and registry.pointed == "1"
    assert again.reasons[0] == "version 2 was rolled back: 2 of 3 canary answers differ"


def test_a_first_champion_that_is_taken_back_leaves_none() -> None:
    at, registry, _, _ = desk(None)
    promote(at, "1", YES, None)
    assert withdraw(at, "1", "it says nothing") is not None and registry.pointed is None
    assert withdraw(at, "1", "it says nothing") is None, "it is the champion no more"
    assert promote(at, "2", YES, None).champion_after == "2"


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(5))
def test_killed_while_taking_back_and_started_again_it_is_back_with_one_alert(step: int, after_effect: bool) -> None:
    at, registry, audit, steps = desk(None)
    promote(at, "1", YES, None)
    promote(at, "2", YES, "1")
    steps.kill_at, steps.after_effect = steps.count + step, after_effect
    with pytest.raises(Killed):
        withdraw(at, "2", "differs")
    steps.kill_at = None
    withdraw(at, "2", "differs")
    assert registry.pointed == "1" and events(audit).count("alert") == 1


# ---------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("step", range(EFFECTS))
def test_a_registry_that_is_out_of_reach_at_any_step_is_an_error_and_leaves_it_before_or_after(
    step: int, after_effect: bool
) -> None:
    at, registry, audit, _ = desk("1")
    registry.steps = audit.steps = broken = Unreachable()
    broken.kill_at, broken.after_effect = step, after_effect
    with pytest.raises(RegistryError, match="did not answer"):
        promote(at, "2", YES, "1")
    assert registry.pointed in {"1", "2"}
    broken.kill_at = None
    assert promote(at, "2", YES, registry.pointed).champion_after == "2"
    assert [record.after for record in audit.kept if record.event == "done"] == ["2"]


def test_an_alias_that_is_moved_between_check_and_set_is_left_where_it_is() -> None:
    at, registry, audit, _ = desk("1")

    class MovedByHand:
        def fenced(self) -> AbstractContextManager[None]:
            registry.pointed = "9"
            return nullcontext()

    held: Hold = MovedByHand()
    with pytest.raises(RegistryError, match="champion is version 9, but version 2 was compared with version 1"):
        promote(replace(at, lock=lambda: nullcontext(held)), "2", YES, "1")
    assert registry.pointed == "9"
    settle(at)
    assert events(audit) == ["intent", "abandoned", "moved"]
    assert audit.kept[-1].after == "9"


# ---------------------------------------------------------------------------------------------------- the trail


def record(event: str = "held") -> AuditRecord:
    return AuditRecord.model_validate(
        {"time": "now", "event": event, "action": "promote", "model": "m", "alias": "a", "before": None, "after": "1"}
    )


def test_the_trail_survives_a_line_that_a_crash_cut_off(tmp_path: Path) -> None:
    audit = JsonlAudit(tmp_path / "sub" / "audit.jsonl")
    assert audit.records() == []
    audit.append(record())
    with audit.path.open("a") as handle:
        handle.write('{"time": "no')
    audit.append(record("moved"))
    assert [one.event for one in audit.records()] == ["held", "moved"]


def test_an_edited_trail_is_refused(tmp_path: Path) -> None:
    (tmp_path / "audit.jsonl").write_text('{"event": "done"}\n')
    with pytest.raises(RegistryError, match="line 1 is no audit record"):
        JsonlAudit(tmp_path / "audit.jsonl").records()
