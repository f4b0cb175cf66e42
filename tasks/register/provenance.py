"""Where a version comes from: who made what of it, with which code, libraries, seeds and machine, for how much."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from tasks.artifacts import Artifact, Frozen

LOCK_FILE = "requirements.lock"


class Made(Frozen):
    """One artifact behind a version."""

    digest: str
    key: str
    uri: str
    parents: dict[str, str]
    code: str
    config: str
    created: str
    seconds: float
    git_commit: str | None
    git_dirty: bool | None
    libraries: dict[str, str]


class Provenance(Frozen):
    """Everything that is known of how a version came about."""

    stages: dict[str, Made]
    """By the name of the stage, in the order of making."""
    lock: str | None
    """sha256 of requirements.lock; None where there is none."""
    seeds: dict[str, int]
    hardware: dict[str, str]
    seconds: float
    """Time that making the artifacts took, in whatever runs that was."""
    device_hours: float
    """Hours of training times the devices (GPUs, or worker processes without one) it trained on."""
    teacher_usd: float | None
    """What teacher and judge were paid for the artifacts; None if nobody was asked."""
    licence: str | None = None
    """Of the images and annotations."""
    non_commercial: bool = False

    def tags(self) -> dict[str, str]:
        """The parts one searches by, as tags without prefix."""
        code = {f"code.{name}": made.code for name, made in self.stages.items()}
        seeds = {f"seed.{name}": str(seed) for name, seed in self.seeds.items()}
        plain = {
            "lock": self.lock or "", "seconds": f"{self.seconds:.0f}", "device_hours": f"{self.device_hours:.4g}",
            "teacher_usd": "" if self.teacher_usd is None else f"{self.teacher_usd:.4g}",
            "hardware": ", ".join(self.hardware.values()), "licence": self.licence or "",
            "non_commercial": "true" if self.non_commercial else "",
        }
        return {**plain, **code, **seeds}


def provenance_of(
    artifacts: Mapping[str, Artifact], config: Mapping[str, JsonValue], hardware: Mapping[str, str], project: Path,
    devices: int,
) -> Provenance:
    """The provenance of a version made from the artifacts, by stage. `config` is the resolved experiment."""
    trained = sum(artifacts[name].made_by.seconds for name in ("align", "instruct") if name in artifacts)
    spent = [usd for artifact in artifacts.values() if isinstance(usd := artifact.facts.get("usd_spent"), int | float)]
    sources = sources_of(config)
    licences = dict.fromkeys(str(source["licence"]) for source in sources if source.get("licence"))
    return Provenance(
        stages={name: _made(artifact) for name, artifact in artifacts.items()},
        lock=lock_digest(project), seeds=_seeds(config), hardware=dict(hardware),
        seconds=round(sum(artifact.made_by.seconds for artifact in artifacts.values()), 3),
        device_hours=round(trained * devices / 3600, 6), teacher_usd=round(sum(spent), 6) if spent else None,
        licence="; ".join(licences) or None,
        non_commercial=any(source.get("non_commercial") is True for source in sources),
    )


def sources_of(config: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """All data sources of a resolved experiment."""
    also = _at(config, "data", "also")
    listed = [_at(config, "data", "source"), *(also if isinstance(also, list) else [])]
    return [source for source in listed if isinstance(source, dict)]


def lock_digest(project: Path) -> str | None:
    """sha256 of the lock file of the libraries."""
    path = project / LOCK_FILE
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _made(artifact: Artifact) -> Made:
    by = artifact.made_by
    return Made(
        digest=artifact.digest, key=artifact.key, uri=artifact.uri, parents=artifact.parents, code=by.code,
        config=by.config, created=by.created, seconds=by.seconds, git_commit=by.git_commit, git_dirty=by.git_dirty,
        libraries=by.libraries,
    )


def _seeds(config: Mapping[str, JsonValue]) -> dict[str, int]:
    data = _at(config, "data", "source", "seed")
    found = {"run": config.get("seed"), "base": _at(config, "base", "seed"), "data": data}
    return {name: seed for name, seed in found.items() if isinstance(seed, int)}


def _at(config: Mapping[str, JsonValue], *names: str) -> JsonValue:
    value: JsonValue = dict(config)
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value
