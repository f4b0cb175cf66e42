"""The alias moves with a precondition and a trail, and no crash leaves it in between."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord, JsonlAudit
from tasks.register.desk import Desk
from tasks.register.lock import Hold, Unlosable, file_lock
from tasks.register.promote import promote, rollback
from tasks.register.settle import history, settle
from tasks.register.verdict import Reason, Verdict

YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
NO = Verdict(
    verdict="hold",
    reasons=(Reason(ok=True, check="floor", text="high enough"), Reason(ok=False, check="overall", text="worse")),
)


class Killed(BaseException):
    """The process ends here."""


class Steps:
    """Counts the effects of a promotion, and kills the process before or after the one that is chosen."""

    def __init__(self) -> None:
        self.count = 0
        self.kill_at: int | None = None
        self.after_effect = False

    def run(self, effect: Callable[[], None]) -> None:
        here, self.count = self.count, self.count + 1
        if here == self.kill_at and not self.after_effect:
            raise Killed
        effect()
        if here == self.kill_at:
            raise Killed


class Registry:
    """A registry in memory."""

    name, alias = "llavaflow", "champion"

    def __init__(self, steps: Steps, champion: str | None = None) -> None:
        self.steps = steps
        self.pointed = champion
        self.tags: dict[str, dict[str, str]] = {}

    def champion(self) -> str | None:
        return self.pointed

    def set_champion(self, version: str | None) -> None:
        self.steps.run(lambda: setattr(self, "pointed", version))

    def tag(self, version: str, tags: Mapping[str, str]) -> None:
        self.steps.run(lambda: self.tags.setdefault(version, {}).update(tags))


class Audit:
    """A trail in memory."""

    def __init__(self, steps: Steps) -> None:
        self.steps = steps
        self.kept: list[AuditRecord] = []

    def append(self, record: AuditRecord) -> None:
        self.steps.run(lambda: self.kept.append(record))

    def records(self) -> list[AuditRecord]:
        return list(self.kept)


def desk(champion: str | None = None) -> tuple[Desk, Registry, Audit, Steps]:
    steps = Steps()
    registry, audit = Registry(steps, champion), Audit(steps)
    held: Hold = Unlosable()
    at = Desk(registry, audit, lambda: nullcontext(held), who="ada", run="r1", now=lambda: "now")
    return at, registry, audit, steps


def events(audit: Audit) -> list[str]:
    return [record.event for record in audit.kept]


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


def _hold_lock(path: Path, held: object, free: object) -> None:
    with file_lock(path):
        held.set()  # type: ignore[attr-defined]
        free.wait()  # type: ignore[attr-defined]


def test_two_promotions_at_once_wait_for_one_another(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    other = context.Process(target=_hold_lock, args=(tmp_path / "lock", held, free))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(RegistryError, match="another promotion holds"), file_lock(tmp_path / "lock", timeout=0.05):
            pass
    finally:
        free.set()
        other.join(60)
    with file_lock(tmp_path / "lock", timeout=0.05):
        pass


def test_a_lock_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    other = context.Process(target=_hold_lock, args=(tmp_path / "lock", held, free))
    other.start()
    assert held.wait(60)
    other.kill()
    other.join(60)
    with file_lock(tmp_path / "lock", timeout=5):
        pass
