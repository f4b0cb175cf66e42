"""What a run leaves behind as data: a record a stage, and the outcome of the whole (`result.json`, `--json`)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, JsonValue

from tasks.artifacts import Artifact, Descriptor, Frozen, MadeBy, Promotion
from tasks.errors import LlavaflowError
from tasks.making import Made
from tasks.report.inputs import Benchmark
from tasks.report.words import duration

if TYPE_CHECKING:
    from flows.run import Run

Status = Literal["finished", "failed", "interrupted"]


class StageRecord(Frozen):
    """What one stage of a run did."""

    name: str
    cached: bool
    """Nothing had to be done."""
    reason: str
    """Why it was done, or why not."""
    seconds: float
    """In this run."""
    detail: str = ""
    """What it made, in a few words."""
    counts: dict[str, int] = Field(default_factory=dict)
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    uri: str | None = None
    digest: str | None = None
    parents: dict[str, str] = Field(default_factory=dict)
    made_by: MadeBy | None = None

    @property
    def line(self) -> str:
        """What it did, for one line."""
        how = f"cached, {self.reason}" if self.cached else f"{duration(self.seconds)}, {self.reason}"
        return f"{self.detail}  ({how})" if self.detail else how

    @property
    def usd(self) -> float | None:
        """What teacher or judge were paid when it was made; None for a stage that asks nobody."""
        spent = self.facts.get("usd_spent")
        return float(spent) if isinstance(spent, int | float) else None


class Ending(Frozen):
    """What the end of the spine knows; empty for a run that did not get there."""

    benchmarks: tuple[Benchmark, ...] = ()
    scores: dict[str, float] = Field(default_factory=dict)
    """Flat map "benchmark/metric" to percent."""
    version: str | None = None
    decision: Promotion | None = None
    report: str | None = None


class Outcome(Ending):
    """What came of a run."""

    run: str
    experiment: str
    tag: str
    status: Status
    started: str
    """UTC, ISO 8601."""
    seconds: float
    folder: str
    stages: tuple[StageRecord, ...] = ()
    look: dict[str, str] = Field(default_factory=dict)
    """What one may look at next, to the command for it."""
    error: str | None = None

    @classmethod
    def of(cls, run: Run, error: BaseException | None) -> Outcome:
        """The outcome of a run that ends now, with what ended it early."""
        status: Status = "finished"
        if error is not None:
            status = "failed" if isinstance(error, Exception) else "interrupted"
        return cls(
            **{name: getattr(run.ending, name) for name in Ending.model_fields},
            run=run.id, experiment=run.experiment.id, tag=run.tag, status=status,
            started=run.started.isoformat(timespec="seconds"), seconds=run.seconds, folder=str(run.folder),
            stages=tuple(run.records.values()), look=look_of(run), error=None if error is None else cause_of(error),
        )

    @property
    def cached(self) -> bool:
        """True if no stage had anything to do."""
        return all(stage.cached for stage in self.stages)


def cause_of(error: BaseException) -> str:
    """What ended a run, in one line: our own errors speak for themselves, others are named."""
    text = " ".join(str(error).split())
    if isinstance(error, LlavaflowError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def look_of(run: Run) -> dict[str, str]:
    """What one may look at next, to the command for it."""
    programs, uri = shown_path(Path(sys.executable).parent), run.tracked.store.uri
    api = run.settings.prefect_api_url
    server = f"PREFECT_HOME={os.environ['PREFECT_HOME']} {programs}/prefect server start"
    return {
        **_made(run),
        "models": "llavaflow models",
        "training": uri if uri.startswith("http") else f"{programs}/mlflow ui --backend-store-uri {uri}",
        "flow runs": api.removesuffix("/api") if api else server,
    }


def _made(run: Run) -> dict[str, str]:
    """Where the last artifact of a part of a run lies, as `make teacher` wants to know; a whole run has its report."""
    last = next((record for record in reversed(run.records.values()) if record.uri), None)
    if last is None or last.uri is None or run.ending.report is not None:
        return {}
    review = {"review": shown_path(run.review_file)} if run.review_file.is_file() else {}
    return {last.name: last.uri if "://" in last.uri else shown_path(Path(last.uri)), **review}


def shown_path(path: Path) -> str:
    """A path as a person here would type it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def record_of(name: str, made: Made[Descriptor]) -> StageRecord:
    """The record of a stage that makes an artifact."""
    artifact = made.artifact
    return StageRecord(
        name=name, cached=made.cached, reason=made.decision.reason, seconds=round(made.seconds, 3),
        detail=detail_of(artifact), counts=artifact.counts, facts=artifact.facts, uri=artifact.uri,
        digest=artifact.digest, parents=artifact.parents, made_by=artifact.made_by,
    )


SHOWN = {
    "ImageSet": {"images": "images", "quarantined": "quarantined"},
    "ConversationSet": {"samples": "conversations", "rejected": "rejected"},
    "ShardSet": {"align_samples": "for align", "instruct_samples": "for instruct"},
    "BaseModels": {"vision_parameters": "weights see", "language_parameters": "weights read"},
    "Checkpoint": {"steps": "steps", "samples": "samples", "quarantined": "quarantined"},
    "EvalReport": {
        "scienceqa/questions": "questions", "llava_bench/judged": "judged", "pope/questions": "of POPE",
        "mme/questions": "of MME",
    },
}
"""Which counts of an artifact are worth a place on a line, and what they are called there."""


def detail_of(artifact: Artifact) -> str:
    """What an artifact holds, in a few words."""
    names = SHOWN.get(artifact.kind, {})
    found = [(artifact.counts[key], name) for key, name in names.items() if key in artifact.counts]
    return ", ".join(f"{count:,} {name}" for count, name in found if count or name not in ("quarantined", "rejected"))
