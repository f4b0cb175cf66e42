"""Tell the Prefect server that a version of feedback is there, so that automations may retrain with it."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import JsonValue

from configs.load import load_experiment
from flows.publish import Publication, publication_of, publish
from tasks.feedback.exporting import CONVERSATIONS

DATASET = "feedback"


def source_of(folder: Path) -> dict[str, JsonValue]:
    """A version of feedback as a source of an experiment (`data.also`)."""
    return {"kind": "llava_json", "root": str(folder.absolute()), "file": CONVERSATIONS, "stage": "instruct"}


def overrides_with(folder: Path, experiment: str, overrides: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Overrides by which an experiment learns from a version, too; an earlier version of feedback makes way for it."""
    resolved = load_experiment(experiment, overrides)
    others = [
        source.model_dump(mode="json", exclude_none=True) for source in resolved.data.also
        if Path(getattr(source, "root", "")).parent != folder.absolute().parent
    ]
    also = json.dumps([*others, source_of(folder)], ensure_ascii=False)
    return (*(one for one in overrides if not one.startswith("data.also=")), f"data.also={also}")


def announcement(folder: Path, experiment: str, overrides: tuple[str, ...] = ()) -> Publication:
    """What is told: the version, and the experiment that is to learn from it. Raises ConfigError if that is none."""
    return publication_of(DATASET, folder.name, experiment, overrides_with(folder, experiment, overrides))


def announce(told: Publication) -> None:
    """Send the event `llavaflow.feedback`. Raises EnvironmentProblem if it cannot be sent."""
    from flows.events import FEEDBACK

    publish(told, FEEDBACK, "llavaflow.feedback")
