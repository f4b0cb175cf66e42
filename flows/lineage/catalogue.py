"""Every finished artifact of a store by its digest, and what lies there without a manifest that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tasks.artifacts import Artifact
from tasks.errors import ArtifactError
from tasks.storage import Manifest, Store


@dataclass(frozen=True)
class Entry:
    """A finished artifact."""

    stage: str
    manifest: Manifest

    @property
    def place(self) -> tuple[str, str]:
        """Its stage and key."""
        return self.stage, self.manifest.key


@dataclass(frozen=True)
class Catalogue:
    """What a store holds, as it was when it was looked at."""

    entries: tuple[Entry, ...]
    without_manifest: tuple[tuple[str, str], ...]
    """(stage, key) of folders that are no artifact, as their manifest is gone or cannot be read."""

    @cached_property
    def by_digest(self) -> dict[str, list[Entry]]:
        """Artifacts by their digest; two keys may have made the same bytes."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.manifest.digest, []).append(entry)
        return found

    @cached_property
    def by_place(self) -> dict[tuple[str, str], Entry]:
        """Artifacts by stage and key."""
        return {entry.place: entry for entry in self.entries}

    def of_kind(self, kind: type[Artifact]) -> Iterator[Entry]:
        """The artifacts of a kind. Equal bytes may have come of different parents: each is one of its own."""
        return (entry for entry in self.entries if entry.manifest.kind == kind.kind)


def read_catalogue(store: Store) -> Catalogue:
    """Read every manifest of a store."""
    entries, without = [], []
    for stage, key in store.places():
        try:
            manifest = store.manifest(stage, key)
        except ArtifactError:
            manifest = None
        if manifest is None:
            without.append((stage, key))
        else:
            entries.append(Entry(stage, manifest))
    return Catalogue(tuple(entries), tuple(without))


def file_of(store: Store, entry: Entry, path: str) -> Path:
    """A local file with what an artifact holds at a path; of a remote one this file alone is fetched, once.

    Raises ArtifactError if it is missing, or not as it was made.
    """
    if path not in entry.manifest.files:
        raise ArtifactError(f"{store.uri(*entry.place)} has no {path}; it was made before there was one")
    if not store.remote:
        file = Path(store.uri(*entry.place), path)
        if not file.is_file():
            raise ArtifactError(f"{file} is missing; run again to rebuild it")
        return file
    file = store.scratch / "lineage" / f"{entry.manifest.files[path].sha256}-{Path(path).name}"
    if not file.is_file():
        data = store.read_file(store.descriptor(Artifact, entry.stage, entry.manifest), path)
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(f".{file.name}")
        half.write_bytes(data)
        half.replace(file)
    return file
