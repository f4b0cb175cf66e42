"""The shard sets that a training stage mixes with those of its experiment: found by where they lie, or by digest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from configs.schema import MixtureSource, StageConfig
from configs.settings import Settings
from flows.places import shard_cache_of
from tasks.artifacts import Artifact, ShardSet
from tasks.errors import ArtifactError
from tasks.remote_spans import readable
from tasks.spans import Spans
from tasks.storage import Manifest, Store
from tasks.train.mixture import counts_of

DIGEST = 12
"""Fewest characters of a digest that name a shard set."""


def others_of(config: StageConfig, settings: Settings) -> dict[str, ShardSet]:
    """The shard sets of a stage's mixture by their names there, this experiment's own left out.

    Raises ArtifactError for one that is not there, is not finished, or is no shard set.
    """
    return {source.name: _found(source, settings) for source in config.mixture if source.shards is not None}


def mixture_of(
    config: StageConfig, stage: str, own: int | None, settings: Settings
) -> dict[str, tuple[int, int]]:
    """By source: the samples that an epoch takes, and those there are. Empty without a mixture, and while it is not
    known how many samples of this experiment's `own` there are. What is quarantined later is still counted here.
    """
    others = others_of(config, settings)
    there = [
        others[source.name].counts.get(f"{stage}_samples", 0) if source.shards is not None else own
        for source in config.mixture
    ]
    known = [number for number in there if number is not None]
    if not config.mixture or len(known) < len(there):
        return {}
    counts = counts_of(config.mixture, known)
    return {
        source.name: (count, number) for source, count, number in zip(config.mixture, counts, known, strict=True)
    }


def _found(source: MixtureSource, settings: Settings) -> ShardSet:
    assert source.shards is not None
    if "/" not in source.shards:
        return _by_digest(source.name, source.shards, settings)
    address = source.shards if "://" in source.shards else str(Path(source.shards).resolve())
    root, stage, key = address.rstrip("/").rsplit("/", 2)
    store = _store(root, settings)
    manifest = store.manifest(stage, key)
    if manifest is None:
        raise ArtifactError(f"source {source.name} of the mixture: no finished shard set lies at {source.shards}")
    return _descriptor(source.name, store, stage, manifest)


def _by_digest(name: str, digest: str, settings: Settings) -> ShardSet:
    store = _store(settings.store or str(settings.home() / "cache"), settings)
    stage = "shard"
    for key in store.keys(stage) if len(digest) >= DIGEST else ():
        manifest = store.manifest(stage, key)
        if manifest is not None and manifest.digest.startswith(digest):
            return _descriptor(name, store, stage, manifest)
    raise ArtifactError(
        f"source {name} of the mixture: the store holds no shard set of digest {digest!r} (give {DIGEST} characters or "
        "more of it, or its folder)"
    )


def _descriptor(name: str, store: Store, stage: str, manifest: Manifest) -> ShardSet:
    if manifest.kind != ShardSet.kind:
        raise ArtifactError(f"source {name} of the mixture is a {manifest.kind}, not a {ShardSet.kind}")
    return store.descriptor(ShardSet, stage, manifest)


def reached(shards: Artifact, settings: Settings) -> Path | Spans:
    """A shard set of another run: its folder, each file as its manifest says, or what reads it where it lies.

    That compares what it reads with the manifest's digests. Raises ArtifactError where it is not as it was made.
    """
    root, stage, key = shards.uri.rsplit("/", 2)
    store = _store(root, settings)
    if store.remote:
        return readable(store, shards, shard_cache_of(settings))
    manifest = store.manifest(stage, key)
    faults = [f"{shards.uri} is gone"] if manifest is None else store.verify(stage, manifest)
    if faults:
        raise ArtifactError(f"{shards.uri} is not as it was made ({faults[0]}); make it again or leave it out")
    return store.local(shards)


def _store(root: str, settings: Settings) -> Store:
    remote: dict[str, Any] | None = (
        {"endpoint_url": settings.s3_endpoint} if root.startswith("s3://") and settings.s3_endpoint else None
    )
    return Store(root, settings.home() / "scratch", remote)
