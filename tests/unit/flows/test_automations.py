from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from flows import events
from flows.automations import Tree, read_automations
from tasks.errors import ConfigError

INNER = {"type": "event", "posture": "Reactive", "x": 1}


def written(folder: Path, *automations: object) -> Path:
    path = folder / "automations.yaml"
    path.write_text(yaml.safe_dump({"automations": list(automations)}), encoding="utf-8")
    return path


def automation(**changed: object) -> Tree:
    trigger = {"type": "event", "expect": ["a.b"], "posture": "Reactive", "threshold": 1, "within": 0}
    return {"name": "one", "trigger": trigger, "actions": [{"type": "call-webhook", "webhook": "w"}], **changed}


def test_our_file_is_one_that_prefect_understands_to_the_last_key(project: Path) -> None:
    assert len(read_automations(project / "infra" / "automations.yaml")) == 5


def test_our_file_waits_only_for_events_that_somebody_emits(project: Path) -> None:
    known = {value for value in vars(events).values() if isinstance(value, str) and value.startswith("llavaflow.")}
    waited: set[str] = set()
    for one in read_automations(project / "infra" / "automations.yaml"):
        for trigger in one["trigger"].get("triggers", [one["trigger"]]):
            waited |= {event for event in trigger["expect"] if event.startswith("llavaflow.")}
    assert waited == known


def test_a_zombie_has_missed_three_heartbeats(project: Path) -> None:
    from prefect.settings import get_current_settings

    zombies = read_automations(project / "infra" / "automations.yaml")[1]["trigger"]
    seconds = get_current_settings().flows.heartbeat_frequency
    assert seconds is not None and zombies["within"] >= 3 * seconds
    assert zombies["posture"] == "Proactive" and zombies["expect"] == ["prefect.flow-run.*"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (automation(enable=True), "enable"),
        (automation(trigger={"type": "event", "expects": ["a.b"], "posture": "Reactive"}), "trigger.expects"),
        (automation(actions=[{"type": "call-webhook", "webhook": "w", "body": "x"}]), r"actions\[0\].body"),
        (automation(actions=[{"type": "run-deployment"}]), "deployment_id"),
        (automation(actions=[{"type": "no-such-thing"}]), "one"),
        (automation(trigger={"type": "compound", "require": "any", "triggers": [INNER]}), r"trigger.triggers\[0\].x"),
        ({"name": "one"}, "one"),
        ("text", "no automation"),
    ],
)
def test_what_prefect_would_ignore_or_refuse_is_an_error_that_says_where(
    wrong: object, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        read_automations(written(tmp_path, wrong))


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two automations called 'one'"):
        read_automations(written(tmp_path, automation(), automation()))


def test_a_file_that_is_not_there_or_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_automations(tmp_path / "none.yaml")
    other = tmp_path / "other.yaml"
    other.write_text("automation: []", encoding="utf-8")
    with pytest.raises(ConfigError, match="one key"):
        read_automations(other)
