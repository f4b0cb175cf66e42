"""`llavaflow export`: the training samples of a shard set as official LLaVA JSON, so that other trainers can use them.

The format is a list of {"id", "image", "conversations": [{"from", "value"}]}; `image` is a file name, and missing for
a text-only sample (https://github.com/haotian-liu/LLaVA, docs/Finetune_Custom_Data.md).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, ValidationError

from configs.load import load_experiment
from configs.settings import Settings
from flows.outcome import Outcome
from flows.places import storage_options, store_of
from flows.run import RESULT
from flows.specs import Specs
from tasks.artifacts import MANIFEST, Descriptor, ShardSet
from tasks.errors import ArtifactError, DataError
from tasks.shard.tars import key_of
from tasks.shards import PNG, STAGES, ShardReader, held_out
from tasks.stages import StageSpec, decide
from tasks.storage import Store


@dataclass(frozen=True)
class Exported:
    """What was written."""

    samples: int
    images: int
    """Image files; 0 where none were asked for."""


def export(
    source: str, to: Path, images: Path | None = None, stage: str = "instruct", with_held_out: bool = False,
    settings: Settings | None = None,
) -> Exported:
    """Write the samples of a stage as official LLaVA JSON, and their images into a folder where one is named.

    `source` is an experiment, a run (its id or folder), or where a shard set lies. The file is there when it is whole.
    Raises ArtifactError where there are no shards, DataError for a stage that does not exist.
    """
    if stage not in STAGES:
        raise DataError(f"{stage!r} is neither {' nor '.join(STAGES)}")
    shards = shards_of(source, settings or Settings())
    if images is not None:
        images.mkdir(parents=True, exist_ok=True)
    to.parent.mkdir(parents=True, exist_ok=True)
    half = to.with_name(f".{to.name}.{os.getpid()}")
    written, samples = set[str](), 0
    try:
        with half.open("w", encoding="utf-8", newline="\n") as out:
            for name in (stage, held_out(stage)) if with_held_out else (stage,):
                with ShardReader(shards, name) as reader:
                    for line in _entries(reader, images, written):
                        out.write((",\n" if samples else "[\n") + line)
                        samples += 1
            out.write("\n]\n" if samples else "[]\n")
        half.replace(to)
    finally:
        half.unlink(missing_ok=True)
    return Exported(samples, len(written))


def shards_of(source: str, settings: Settings) -> Path:
    """A local folder with the shard set of an experiment, run or uri. Raises ArtifactError where there is none."""
    if "://" in source:
        return _at(source, settings)
    if (Path(source) / MANIFEST).is_file():
        return Path(source)
    for run in (Path(source), settings.home() / source):
        if (run / RESULT).is_file():
            return _of_run(run, settings)
    return _of_experiment(source, settings)


def _at(uri: str, settings: Settings) -> Path:
    try:
        root, stage, key = uri.rstrip("/").rsplit("/", 2)
    except ValueError:
        raise ArtifactError(f"{uri} names no artifact: it ends with /<stage>/<key>") from None
    store = Store(root, settings.home() / "scratch", storage_options(uri, settings))
    manifest = store.manifest(stage, key)
    if manifest is None or manifest.kind != ShardSet.kind:
        raise ArtifactError(f"no finished shard set lies at {uri}")
    return store.local(store.descriptor(ShardSet, stage, manifest))


def _of_run(run: Path, settings: Settings) -> Path:
    try:
        outcome = Outcome.model_validate_json((run / RESULT).read_bytes())
    except ValidationError as error:
        raise ArtifactError(f"{run / RESULT} cannot be read") from error
    for stage in outcome.stages:
        if stage.name == "shard" and stage.uri is not None:
            return _at(stage.uri, settings)
    raise ArtifactError(f"run {run.name} made no shards")


def _of_experiment(name: str, settings: Settings) -> Path:
    experiment = load_experiment(name, ())
    store, specs = store_of(settings), Specs(experiment, settings)
    images = _cached(store, specs.ingest(), name)
    conversations = _cached(store, specs.generate(images), name)
    return store.local(_cached(store, specs.shard(images, conversations), name))


def _cached(store: Store, spec: StageSpec[Descriptor], name: str) -> Descriptor:
    decision = decide(store, spec)
    if decision.artifact is None:
        raise ArtifactError(f"{name} has no shards yet ({spec.name}: {decision.reason}): run `llavaflow shard {name}`")
    return decision.artifact


def _entries(reader: ShardReader, images: Path | None, written: set[str]) -> Iterator[str]:
    for number in range(len(reader)):
        sample = reader.sample(number)
        entry: dict[str, JsonValue] = {"id": sample.id}
        files: list[JsonValue] = []
        for name, data in zip(sample.images, reader.images(number), strict=True):
            file = f"{key_of(name)}.{'png' if data.startswith(PNG) else 'jpg'}"
            files.append(file)
            if images is not None and file not in written:
                (images / file).write_bytes(data)
                written.add(file)
        if files:
            entry["image"] = files[0] if len(files) == 1 else files
        turns = [turn.model_dump(mode="json", by_alias=True) for turn in sample.conversations]
        yield json.dumps({**entry, "conversations": turns}, ensure_ascii=False)
