"""A store with the artifacts of a model, real ones where lineage reads their files, and the version that holds it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from configs.schema import ShardConfig
from configs.settings import Settings
from flows.places import store_of
from tasks.artifacts import (
    Artifact,
    BaseModels,
    Checkpoint,
    ConversationSet,
    EvalReport,
    ImageSet,
    MadeBy,
    ShardSet,
)
from tasks.origins import ORIGINS, Origin
from tasks.progress import Silent
from tasks.register.package import PROVENANCE
from tasks.register.provenance import Made, Provenance
from tasks.shard.run import build_shards
from tasks.storage import Store, make_manifest
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_bytes, image_set

IDS = [f"scene-{number:03d}" for number in range(12)]
STAGES: dict[str, type[Artifact]] = {
    "ingest": ImageSet, "generate": ConversationSet, "shard": ShardSet, "base": BaseModels, "align": Checkpoint,
    "instruct": Checkpoint, "evaluate": EvalReport,
}


def key_of_answer(sample: str) -> str:
    return hashlib.sha256(f"answer {sample}".encode()).hexdigest()


def sha256_of(image: str) -> str:
    return hashlib.sha256(image_bytes(image)).hexdigest()


@dataclass
class MadeRegistry:
    """A registry whose versions are what a test says."""

    name: str = "llavaflow"
    alias: str = "champion"
    kept: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    pointed: dict[str, str] = field(default_factory=dict)
    texts: dict[tuple[str, str], str] = field(default_factory=dict)

    def tags(self) -> list[tuple[str, str, dict[str, str]]]:
        return self.kept

    def aliases(self) -> Mapping[str, str]:
        return self.pointed

    def text(self, version: str, name: str) -> str | None:
        return self.texts.get((version, name))

    def champion(self) -> str | None:
        return self.pointed.get(self.alias)


class Chain:
    """The artifacts of one model, `salt` telling it from others; images and conversations are those of `ids`.

    `images` is a folder that ingest made, instead of images of the ids.
    """

    def __init__(self, home: Path, salt: str = "a", ids: list[str] = IDS, held_out: float = 0.0,
                 images: Path | None = None) -> None:  # fmt: skip
        self.store, self.salt = store_of(Settings(root=home)), salt
        self.made: dict[str, Artifact] = {}
        scratch = home / "sets" / salt
        self._publish("ingest", images or image_set(scratch / "images", ids), {})
        talks = conversation_set(scratch / "talks", [conversation(f"{name}-talk", name) for name in ids])
        origins = [
            Origin(
                id=f"{name}-talk", kind="conversation", image=name, sha256=sha256_of(name),
                answers=(key_of_answer(f"{name}-talk"),),
            )
            for name in ids
        ]
        (talks / ORIGINS).write_text("".join(origin.line() + "\n" for origin in origins))
        facts: dict[str, JsonValue] = {"prompts": f"prompts-{salt}", "teacher": "t"}
        self._publish("generate", talks, {"ingest": "ingest"}, facts)
        shards = home / "sets" / f"{salt}-shards"
        shards.mkdir(parents=True)
        config = ShardConfig(max_samples=5, writers=1, held_out=held_out)
        build_shards(shards, self.folder("ingest"), self.folder("generate"), config, 0, Silent())
        self._publish("shard", shards, {"ingest": "ingest", "generate": "generate"})
        for stage, parents in (
            ("base", ()), ("align", ("base", "shard")), ("instruct", ("align", "shard")),
            ("evaluate", ("instruct", "ingest")),
        ):
            folder = home / "sets" / f"{salt}-{stage}"
            (folder / "model").mkdir(parents=True)
            (folder / "model" / "weights.safetensors").write_text(f"{salt} {stage}")
            self._publish(stage, folder, {parent: parent for parent in parents})

    def folder(self, stage: str) -> Path:
        return Path(self.made[stage].uri)

    def register(self, registry: MadeRegistry, version: str, **tags: str) -> None:
        """Make it a version of a registry, as stage register does."""
        digests = {name: one.digest for name, one in self.made.items()}
        known = {
            "experiment": "shapes", "run": f"run-{self.salt}", "checkpoint": digests["instruct"],
            "evaluation": digests["evaluate"], "data.images": digests["ingest"],
            "data.conversations": digests["generate"], "data.shards": digests["shard"], "data.base": digests["base"],
        }
        registry.kept.insert(0, (version, f"mlflow-{self.salt}", {**known, **tags}))
        stages = {
            name: Made(
                digest=one.digest, key=one.key, uri=one.uri, parents=one.parents, code=one.made_by.code,
                config=one.made_by.config, created=one.made_by.created, seconds=1.0, git_commit=None, git_dirty=None,
                libraries={},
            )
            for name, one in self.made.items()
        }
        provenance = Provenance(
            stages=stages, lock=None, seeds={}, hardware={}, seconds=1.0, device_hours=0.1, teacher_usd=None
        )
        registry.texts[version, PROVENANCE] = provenance.model_dump_json()

    def _publish(
        self, stage: str, folder: Path, parents: Mapping[str, str], facts: dict[str, JsonValue] | None = None
    ) -> None:
        store: Store = self.store
        kind, key = STAGES[stage], f"{self.salt}{stage}".ljust(32, "0")
        digests = {name: self.made[parent].digest for name, parent in parents.items()}
        by = MadeBy(stage=stage, code="c", config="d", created="2026-11-22T12:00:00+00:00")
        manifest = make_manifest(folder, kind.kind, key, {}, {}, facts or {}, digests, by)
        store.publish(folder, stage, manifest)
        self.made[stage] = store.descriptor(kind, stage, manifest)
