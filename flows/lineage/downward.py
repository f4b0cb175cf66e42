"""From a version of the registry down to shards, conversations, the teacher's answers, prompts and images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from flows.lineage.catalogue import Catalogue, Entry, file_of
from flows.lineage.records import Downward, KnownVersion, Part, ShardLine
from flows.lineage.searching import every_line
from tasks.errors import ArtifactError, RegistryError
from tasks.origins import ORIGINS
from tasks.register.package import PROVENANCE
from tasks.register.provenance import Made, Provenance
from tasks.shard.tars import key_of
from tasks.shards import SHARD_TABLE, STAGES, ShardEntry, index_file
from tasks.storage import Store

ORDER = ("evaluate", "instruct", "align", "base", "shard", "generate", "ingest")
"""Stages, from the version down."""
OF_TAG = {"data.images": "ingest", "data.conversations": "generate", "data.shards": "shard", "data.base": "base",
          "checkpoint": "instruct", "evaluation": "evaluate"}  # fmt: skip
ORIGIN = ("experiment", "run", "git_commit", "git_dirty")


@dataclass
class _Seen:
    """What is gathered on the way."""

    unknown: list[str] = field(default_factory=list)
    learned: dict[str, int] = field(default_factory=dict)


class Downwards:
    """Looks one version up."""

    def __init__(self, store: Store, catalogue: Catalogue, model: str, version: KnownVersion) -> None:
        self._store, self._catalogue, self._model, self._version = store, catalogue, model, version
        self._seen = _Seen()

    def lineage(self, provenance: str | None) -> Downward:
        """Everything behind the version. `provenance` is the text it was registered with, None where it has none.

        Raises RegistryError if that text cannot be read.
        """
        version, seen = self._version, self._seen
        made = _stages(version, provenance)
        if not made:
            seen.unknown.append(f"version {version.version} was registered by other means: its lineage is not recorded")
        entries = dict(self._entries(made))
        parts = tuple(_part(stage, made[stage], entries.get(stage)) for stage in ORDER if stage in made)
        seen.unknown += [
            f"{stage} is not recorded" if stage not in made else f"{stage} {made[stage].digest[:12]} is gone"
            for stage in ORDER if made and stage not in entries
        ]
        conversations = entries.get("generate")
        facts = {} if conversations is None else conversations.manifest.facts
        shards = tuple(self._shards(entries))
        return Downward(
            model=self._model, version=version.version, aliases=version.aliases,
            origin={name: version.tags[name] for name in ORIGIN if name in version.tags}, parts=parts, shards=shards,
            learned=self._learned(entries), teacher=str(facts.get("teacher") or ""),
            prompts=str(facts.get("prompts") or ""), unknown=tuple(seen.unknown),
        )

    def samples(self, provenance: str | None) -> Iterator[dict[str, Any]]:
        """Every training sample: stage, key, shard, the image's sha256, and the ledger's keys of its answers."""
        entries = dict(self._entries(_stages(self._version, provenance)))
        answers = {key_of(line["id"]): line["answers"] for line in self._lines(entries, "generate", ORIGINS)}
        for stage in STAGES:
            for line in self._lines(entries, "shard", index_file(Path(), stage).as_posix()):
                image, more = line["image"], line.get("more")
                yield {
                    "stage": stage, "key": line["key"], "shard": line["shard"],
                    "image": None if image is None else image[2],
                    **({"more_images": [one[2] for one in more]} if more else {}),
                    "answers": answers.get(line["key"], []) if stage == "instruct" else [],
                }

    # ------------------------------------------------------------------------------------------------ within

    def _entries(self, made: Mapping[str, Made]) -> Iterator[tuple[str, Entry]]:
        """The artifacts that are there: by key, and of the digest that is recorded."""
        for stage, one in made.items():
            entry = self._catalogue.by_place.get((stage, one.key))
            if entry is not None and entry.manifest.digest == one.digest:
                yield stage, entry
            elif same := self._catalogue.by_digest.get(one.digest):
                yield stage, same[0]

    def _shards(self, entries: Mapping[str, Entry]) -> Iterator[ShardLine]:
        for line in self._lines(entries, "shard", SHARD_TABLE):
            entry = ShardEntry.model_validate(line)
            if not entry.shard.startswith("held_out/"):
                yield ShardLine(shard=entry.shard, samples=entry.samples, sha256=entry.sha256)

    def _learned(self, entries: Mapping[str, Entry]) -> dict[str, int]:
        told: dict[str, int] = {}
        images = set[str]()
        for stage in STAGES:
            lines = list(self._lines(entries, "shard", index_file(Path(), stage).as_posix(), _images))
            told[f"{stage} samples"] = len(lines)
            images.update(*lines)
        answers = list(self._lines(entries, "generate", ORIGINS, lambda one: one["answers"]))
        told |= {"conversations": len(answers), "answers": len({key for keys in answers for key in keys})}
        told["images"] = len(images)
        return {name: number for name, number in told.items() if number}

    def _lines(
        self, entries: Mapping[str, Entry], stage: str, path: str, of: Callable[[dict[str, Any]], Any] = lambda one: one
    ) -> Iterator[Any]:
        if stage not in entries:
            return
        try:
            yield from (of(line) for line in every_line(file_of(self._store, entries[stage], path)))
        except ArtifactError as error:
            if str(error) not in self._seen.unknown:
                self._seen.unknown.append(str(error))


def stages_of(text: str | None, version: str) -> dict[str, Made]:
    """The artifacts that provenance.json names, by stage; none without it. Raises RegistryError if it was altered."""
    if text is None:
        return {}
    try:
        return Provenance.model_validate_json(text).stages
    except ValidationError as error:
        raise RegistryError(f"{PROVENANCE} of version {version} was altered; register its model anew") from error


def _stages(version: KnownVersion, provenance: str | None) -> dict[str, Made]:
    """Out of the provenance; what it does not name, by the digests in the tags."""
    by_tag = {
        stage: Made(
            digest=version.tags[tag], key="", uri="", parents={}, code="", config="", created="", seconds=0.0,
            git_commit=None, git_dirty=None, libraries={},
        )
        for tag, stage in OF_TAG.items() if tag in version.tags
    }
    return by_tag | stages_of(provenance, version.version)


def _part(stage: str, made: Made, entry: Entry | None) -> Part:
    if entry is None:
        told = {"created": made.created, "git_commit": made.git_commit} if made.created else {}
        return Part(stage=stage, digest=made.digest, key=made.key, state="gone", made=dict(told))
    by, manifest = entry.manifest.made_by, entry.manifest
    return Part(
        stage=stage, digest=manifest.digest, key=manifest.key, state="here", counts=manifest.counts,
        made={"created": by.created, "git_commit": by.git_commit, "git_dirty": by.git_dirty, "code": by.code},
    )


def sample_lines(samples: Iterator[dict[str, Any]]) -> Iterator[str]:
    """The samples as JSON lines."""
    return (json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)


def _images(entry: dict[str, Any]) -> list[str]:
    """sha256 of the images of a sample, out of its line in an index."""
    return [image[2] for image in (entry["image"], *entry.get("more", ())) if image is not None]
