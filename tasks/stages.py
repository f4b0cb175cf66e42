"""Run a stage or skip it: the cache decision, the build, the publication.

A stage's key is a digest over its name, its code, the part of the experiment that it reads and its parents' digests.
Same key and a whole artifact: skipped. Everything else is built, and `Decision.reason` says why.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic

from pydantic import JsonValue

from tasks.artifacts import Artifact, Descriptor, FileEntry, MadeBy, digest_of
from tasks.code import CodeState, code_digest
from tasks.errors import ArtifactError, EnvironmentProblem
from tasks.progress import Progress
from tasks.storage import Manifest, Store, make_manifest


@dataclass(frozen=True)
class Built:
    """What a build function hands back beside the files it wrote."""

    counts: dict[str, int] = field(default_factory=dict)
    facts: dict[str, JsonValue] = field(default_factory=dict)
    files: dict[str, FileEntry] = field(default_factory=dict)
    """What went through a sink (`tasks.sinks`), hashed while it was written; by relative path."""


Build = Callable[[Path, Progress], Built]
"""Writes the artifact's files into the (empty) folder it is given."""


@dataclass(frozen=True)
class StageSpec(Generic[Descriptor]):
    """What decides a stage's key.

    `code` names source files and packages, relative to the project root ("tasks/ingest", "tasks/chat/client.py");
    `config` is the part of the experiment that the stage reads, as JSON.
    """

    name: str
    makes: type[Descriptor]
    code: tuple[str, ...]
    config: JsonValue
    parents: Mapping[str, Artifact] = field(default_factory=dict)
    elastic: tuple[str, ...] = ()
    """Dotted paths in `config` that are part of the key, yet may change while the stage is under way."""

    @property
    def work_name(self) -> str:
        """Name of the folder for what the stage wants to find again after a crash."""
        parts = copy.deepcopy(self.key_parts())
        for path in self.elastic:
            *above, last = ("config", *path.split("."))
            holder: JsonValue = parts
            for name in above:
                assert isinstance(holder, dict), f"{path} is no path in the config of {self.name}"
                holder = holder[name]
            assert isinstance(holder, dict), f"{path} is no path in the config of {self.name}"
            del holder[last]
        return f"{self.name}-{digest_of(parts)[:16]}"

    @property
    def key(self) -> str:
        """The cache key."""
        return digest_of(self.key_parts())[:32]

    def key_parts(self) -> dict[str, JsonValue]:
        """The parts of the key, each by itself, so that a changed one can be named."""
        return {
            "stage": self.name,
            "code": code_digest(self.code),
            "config": self.config,
            "parents": {name: parent.digest for name, parent in sorted(self.parents.items())},
        }


@dataclass(frozen=True)
class Decision(Generic[Descriptor]):
    """Whether a stage has to run, and why."""

    key: str
    artifact: Descriptor | None
    reason: str

    @property
    def cached(self) -> bool:
        """True if a whole artifact of this key is there."""
        return self.artifact is not None


def decide(store: Store, spec: StageSpec[Descriptor]) -> Decision[Descriptor]:
    """Look the stage up in the cache, verify what is found, and say why it has to run if it has to."""
    parts = spec.key_parts()
    key = digest_of(parts)[:32]
    try:
        manifest = store.manifest(spec.name, key)
    except ArtifactError:
        return Decision(key, None, "its manifest cannot be read")
    if manifest is None:
        return Decision(key, None, _why_new(store, spec.name, parts))
    if wrong := store.verify(spec.name, manifest):
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        return Decision(key, None, f"the cached artifact is damaged: {wrong[0]}{more}")
    return Decision(key, store.descriptor(spec.makes, spec.name, manifest), "unchanged")


def execute(
    store: Store, spec: StageSpec[Descriptor], decision: Decision[Descriptor], build: Build, progress: Progress,
    source: CodeState,
) -> Descriptor:
    """Build the artifact and publish it. A build that fails leaves no trace in the cache.

    Raises EnvironmentProblem when the disk is full, and whatever the build raises.
    """
    folder = store.workspace(spec.name, decision.key)
    started = time.monotonic()
    try:
        built = build(folder, progress)
        made_by = MadeBy(
            stage=spec.name,
            code=str(spec.key_parts()["code"]),
            config=digest_of(spec.config),
            libraries=source.libraries,
            git_commit=source.commit,
            git_dirty=source.dirty,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - started, 3),
        )
        parents = {name: parent.digest for name, parent in spec.parents.items()}
        manifest = make_manifest(
            folder, spec.makes.kind, decision.key, spec.key_parts(), built.counts, built.facts, parents, made_by,
            built.files,
        )
        store.publish(folder, spec.name, manifest)
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise EnvironmentProblem(
                f"the disk of {store.scratch} is full; free some space and run again: finished stages are kept"
            ) from error
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return store.descriptor(spec.makes, spec.name, manifest)


def _why_new(store: Store, stage: str, parts: dict[str, JsonValue]) -> str:
    """Name what differs between this key and the nearest earlier artifact of the stage."""
    earlier = (_readable(store, stage, key) for key in store.keys(stage))
    differing = [changed for old in earlier if old and (changed := _changed(old, parts))]
    return _phrase(min(differing, key=len)) if differing else "first build"


def _readable(store: Store, stage: str, key: str) -> Manifest | None:
    try:
        return store.manifest(stage, key)
    except ArtifactError:
        return None


def _changed(old: Manifest, parts: dict[str, JsonValue]) -> list[str]:
    changes = []
    if old.key_parts.get("code") != parts["code"]:
        changes.append("code")
    for name, called in (("parents", "parent"), ("config", "config")):
        changes += [f"{called} {path}" for path in _paths(old.key_parts.get(name), parts[name])]
    return changes


def _paths(old: JsonValue, new: JsonValue, at: str = "") -> list[str]:
    """Dotted paths at which two JSON values differ, with both values where they are short."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            path
            for name in sorted(old.keys() | new.keys())
            for path in _paths(old.get(name), new.get(name), f"{at}.{name}" if at else name)
        ]
    if old == new:
        return []
    shown = f"{old} -> {new}"
    return [f"{at} {shown}" if len(shown) <= 40 else at]


def _phrase(changes: list[str]) -> str:
    more = f" and {len(changes) - 2} more" if len(changes) > 2 else ""
    return "changed: " + ", ".join(changes[:2]) + more
