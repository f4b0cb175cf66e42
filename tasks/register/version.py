"""What a version in the registry is registered with, and how that is written as tags and read from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from tasks.artifacts import Frozen, ModelVersion, canonical_json
from tasks.register.provenance import Provenance

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion as Version

PREFIX = "llavaflow."
TAG_LENGTH = 5000


class Candidate(Frozen):
    """What a version is registered with. Digests are those of the descriptors."""

    experiment: str
    run: str
    """The pipeline's id of the run."""
    run_id: str
    """MLflow's id of it."""
    checkpoint: str
    evaluation: str
    git_commit: str | None = None
    git_dirty: bool | None = None
    data: dict[str, str] = Field(default_factory=dict)
    """Descriptor name to digest of everything it learned from."""
    config: str = ""
    """Digest of the resolved experiment."""
    provenance: Provenance | None = None

    def tags(self) -> dict[str, str]:
        """The tags that say where the version comes from."""
        plain = {
            "experiment": self.experiment,
            "run": self.run,
            "checkpoint": self.checkpoint,
            "evaluation": self.evaluation,
            "git_commit": self.git_commit or "",
            "git_dirty": "" if self.git_dirty is None else str(self.git_dirty).lower(),
            "config": self.config,
            **({} if self.provenance is None else self.provenance.tags()),
            **{f"data.{name}": digest for name, digest in sorted(self.data.items())},
        }
        return {PREFIX + name: value for name, value in plain.items() if value}


def score_tags(scores: Mapping[str, float]) -> dict[str, str]:
    """Scores as JSON in one tag, or in several where one would be too long for MLflow's page."""
    text = canonical_json({name: round(value, 4) for name, value in scores.items()})
    parts = [text[start : start + TAG_LENGTH] for start in range(0, len(text), TAG_LENGTH)]
    return {f"{PREFIX}scores" + (f".{index}" if index else ""): part for index, part in enumerate(parts)}


def scores_of(tags: Mapping[str, str]) -> dict[str, JsonValue]:
    """Scores out of the tags of a version; empty if it was registered by other means."""
    first = f"{PREFIX}scores"
    more = [name for name in tags if name.startswith(first + ".")]
    more.sort(key=lambda name: int(name.rpartition(".")[2]))
    found: dict[str, JsonValue] = json.loads("".join(tags.get(name, "") for name in (first, *more)) or "{}")
    return found


def descriptor_of(version: Version) -> ModelVersion:
    """A version as the pipeline hands it on."""
    return ModelVersion(
        name=version.name,
        version=str(version.version),
        source=version.source,
        run_id=version.run_id or "",
        checkpoint=version.tags[PREFIX + "checkpoint"],
        evaluation=version.tags[PREFIX + "evaluation"],
    )


def row_of(version: Version, aliases: Mapping[str, str]) -> dict[str, JsonValue]:
    """A version as `llavaflow models --json` prints it."""
    tags = version.tags
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": str(version.version),
        "aliases": [alias for alias, pointed in sorted(aliases.items()) if pointed == str(version.version)],
        "decision": tags.get(PREFIX + "decision"),
        "reasons": [*tags.get(PREFIX + "reasons", "").splitlines()],
        "scores": scores_of(tags),
        "experiment": tags.get(PREFIX + "experiment"),
        "run": tags.get(PREFIX + "run"),
        "run_id": version.run_id,
        "checkpoint": tags.get(PREFIX + "checkpoint"),
        "created": created.isoformat(timespec="seconds"),
        "git_commit": tags.get(PREFIX + "git_commit"),
    }
