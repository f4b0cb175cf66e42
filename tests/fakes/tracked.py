"""Tracking that keeps what it is told, in place of MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.outcome import StageRecord
from tasks.artifacts import Artifact


class Store:
    """Where a fake's runs would be."""

    uri = "sqlite:///nowhere.db"


class Tracked:
    """Stands in for `flows.tracked.Tracked`."""

    def __init__(self, run: Any) -> None:
        self.store = Store()
        self.opened: list[str] = []
        self.stages: list[str] = []
        self.ended = ""

    def __enter__(self) -> Tracked:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self.ended = "well" if kind is None else kind.__name__

    def building(self, stage: str) -> None:
        """Keep it."""
        self.opened.append(stage)

    def figures(self, stage: str, figures: Mapping[str, float | str]) -> None:
        """Keep nothing."""

    def stage(self, record: StageRecord, artifact: Artifact) -> None:
        """Keep it."""
        self.stages.append(record.name)

    def end(self, report: Path, tags: Mapping[str, str]) -> None:
        """Keep nothing."""
