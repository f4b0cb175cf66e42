"""What MLflow, and its JSONL twin in the run's folder, are told of a run.

One parent run; base, align, instruct and evaluate are its child runs, in a cached run too, so that every parent can
be read by itself. A thread of its own tells them, in order: to import MLflow and make its store takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from flows.outcome import StageRecord
from flows.places import mlflow_of
from tasks.artifacts import Artifact
from tasks.report.data_review import REVIEW
from tasks.tracker import Both, JsonlTracker, Tracker
from tasks.tracking import MlflowTracker

if TYPE_CHECKING:
    from flows.run import Run

CHILDREN = ("base", "align", "instruct", "evaluate")
ANSWERS = ("answers.jsonl", "answers")
"""What a stage of training keeps of what it answered on the way."""
CURVES = {"base": "history.jsonl", "align": "metrics.jsonl", "instruct": "metrics.jsonl"}
"""Where a stage's figures by step lie in its artifact."""
DATA_SETS = {"ingest": "images", "generate": "conversations", "shard": "shards"}
"""Data sets of the parent run, by the stage that makes them."""


class Tracked:
    """Tells the trackers what a run does. A context manager: on leaving, all is told, and the runs are ended."""

    def __init__(self, run: Run) -> None:
        settings = run.settings
        self.run = run
        self.store = mlflow_of(settings)
        self.mlflow = MlflowTracker(self.store, run.experiment.id, run.id)
        self._parent = Both(JsonlTracker(run.folder), self.mlflow)
        self._children: dict[str, Tracker] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._told: list[Future[None]] = []

    def __enter__(self) -> Tracked:
        run = self.run
        self._parent.__enter__()
        self._tell(self._parent.prepare)
        self._tell(lambda: self._parent.params(run.experiment.model_dump(mode="json")))
        self._tell(lambda: self._parent.tags({"experiment": run.experiment.id, "tag": run.tag}))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        # An interrupted run ends at once: it does not wait for MLflow to load, nor tell what is still to be told.
        loaded = self._told[0].done()
        self._thread.shutdown(wait=loaded or not interrupted, cancel_futures=interrupted)
        if interrupted and not loaded:
            return
        told = [future for future in self._told if not future.cancelled()]
        failures = [failure for future in told if (failure := future.exception()) is not None]
        for failure in failures:
            self.run.logger.error("tracking: %s", failure, exc_info=failure)
        if not failures:
            for child in self._children.values():
                child.__exit__(kind, error, None)
            self._parent.__exit__(kind, error, None)
        elif kind is None:
            raise failures[0]

    def building(self, stage: str) -> None:
        """A stage begins to be built: its child run opens, and watches the machine."""
        if stage in CHILDREN:
            self._tell(lambda: self._child(stage).prepare())

    def figures(self, stage: str, figures: Mapping[str, float | str]) -> None:
        """Figures of a step of a stage that is being built. What its artifact holds of them is not told twice."""
        self._tell(lambda: self._child(stage).metrics([figures]))

    def stage(self, record: StageRecord, artifact: Artifact) -> None:
        """A stage has its artifact, new or cached."""
        self._tell(lambda: self._told_of(record, artifact))

    def end(self, report: Path, tags: Mapping[str, str]) -> None:
        """What came of the run."""
        for page in (report, report.with_name(REVIEW)):
            if page.is_file():
                self._tell(partial(self._parent.artifact, page))
        self._tell(lambda: self._parent.tags(tags))

    def _tell(self, what: Callable[[], None]) -> None:
        self._told.append(self._thread.submit(what))

    def _child(self, stage: str) -> Tracker:
        if stage not in self._children:
            self._children[stage] = self._parent.child(stage).__enter__()
        return self._children[stage]

    def _told_of(self, record: StageRecord, artifact: Artifact) -> None:
        seconds: dict[str, JsonValue] = {f"seconds/{record.name}": record.seconds}
        self._parent.metrics([seconds])
        if record.name in DATA_SETS:
            self._parent.dataset(DATA_SETS[record.name], artifact.uri, artifact.digest, "training")
        if record.name == "generate":
            self._parent.metrics([figures_of(record.name, artifact)])
            self._parent.params({"generated": texts_of(artifact)})
        if record.name in CHILDREN:
            self._tell_child(self._child(record.name), record, artifact)

    def _tell_child(self, child: Tracker, record: StageRecord, artifact: Artifact) -> None:
        context = "evaluation" if record.name == "evaluate" else "training"
        for parent, digest in artifact.parents.items():
            known = self.run.records.get(parent)
            child.dataset(parent, (known and known.uri) or parent, digest, context)
        child.tags({"cached": str(record.cached).lower(), "reason": record.reason, "digest": artifact.digest})
        child.params({"uri": artifact.uri, **self._settings_of(record.name)})
        child.metrics(curve(self.run.local(artifact), record.name))
        child.metrics([scores_of(artifact)])
        for name in ANSWERS:
            if (path := self.run.local(artifact) / name).exists():
                child.artifact(path)
        if record.name == "evaluate":
            self._parent.metrics([scores_of(artifact)])
        child.__exit__(None, None, None)
        del self._children[record.name]

    def _settings_of(self, stage: str) -> dict[str, JsonValue]:
        tree = self.run.experiment.model_dump(mode="json")
        part = tree["train"]["stages"][stage] if stage in tree["train"]["stages"] else tree[stage]
        return {stage: part}


def curve(folder: Path, stage: str) -> Iterator[dict[str, JsonValue]]:
    """A stage's figures by step; where it trained several parts, each figure under the name of its part."""
    path = folder / CURVES.get(stage, "")
    if stage not in CURVES or not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, JsonValue] = json.loads(line)
        part = row.pop("part", None)
        yield {f"{part}/{name}" if part and name != "step" else name: value for name, value in row.items()}


def scores_of(artifact: Artifact) -> dict[str, JsonValue]:
    """Scores and whole numbers that an artifact tells of itself, as figures of step 0."""
    scores = artifact.facts.get("scores")
    return {**artifact.counts, **(scores if isinstance(scores, dict) else {})}


def figures_of(stage: str, artifact: Artifact) -> dict[str, JsonValue]:
    """All numbers that an artifact tells of itself, money among them, as figures of step 0 under the stage's name."""
    numbers = {name: value for name, value in artifact.facts.items() if isinstance(value, int | float)}
    return {f"{stage}/{name}": value for name, value in {**artifact.counts, **numbers}.items()}


def texts_of(artifact: Artifact) -> dict[str, JsonValue]:
    """What an artifact tells of itself in words: who was asked, with which prompts."""
    return {name: value for name, value in artifact.facts.items() if isinstance(value, str)}
