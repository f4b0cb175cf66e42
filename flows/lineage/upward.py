"""From an image, a teacher's answer or a set of prompts up to every sample, shard, checkpoint and version."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from flows.lineage.catalogue import Catalogue, Entry, file_of
from flows.lineage.records import KnownVersion, Learner, Talk, Upward, Use
from flows.lineage.searching import every_line, field, lines_with
from tasks.artifacts import Checkpoint, ConversationSet, ImageSet, ShardSet
from tasks.errors import ArtifactError, DataError
from tasks.origins import ORIGINS
from tasks.shard.tars import key_of
from tasks.shards import STAGES, held_out, index_file
from tasks.storage import Store

SHA256 = re.compile(r"[0-9a-f]{64}")
FEW = 16
"""So many samples are searched for one by one; more are told apart line by line."""
INDICES = (*STAGES, *map(held_out, STAGES))


class Upwards:
    """Searches a store; `unknown` collects what it could not look into."""

    def __init__(self, store: Store, catalogue: Catalogue, versions: Sequence[KnownVersion]) -> None:
        self._store, self._catalogue, self._versions = store, catalogue, versions
        self.unknown: list[str] = []

    def image(self, name: str) -> Upward:
        """What came of an image, named by the sha256 of its file or by its id. Raises DataError for an unknown id."""
        digests = digests_of(self._store, self._catalogue, name)
        if not digests:
            raise DataError(f"no image set here has an image {name!r}; give the id or the sha256 of one that has been")
        talks = tuple(self._talks(digests))
        uses = tuple(use for entry in self._shard_sets() for use in self._uses(entry, parts=sorted(digests)))
        known = name if name in digests else f"{name} (sha256 {', '.join(sorted(digests))})"
        return self._found(f"image {known}", talks, uses)

    def answer(self, key: str) -> Upward:
        """What came of a teacher's answer, named by its key in the ledger."""
        if SHA256.fullmatch(key) is None:
            raise DataError(f"{key!r} is no key of the ledger, which has 64 hex digits")
        return self._of_talks(f"answer {key}", tuple(self._talks({key})))

    def prompts(self, digest: str) -> Upward:
        """What came of a set of prompts, named by its digest or the beginning of it."""
        talks = []
        for entry in self._catalogue.of_kind(ConversationSet):
            if not str(entry.manifest.facts.get("prompts", "")).startswith(digest):
                continue
            if (path := self._file(entry, ORIGINS)) is not None:
                samples = tuple(str(line["id"]) for line in every_line(path))
                talks.append(Talk(digest=entry.manifest.digest, samples=samples))
        return self._of_talks(f"prompts {digest}", tuple(talks))

    def samples(self, subject: str, ids: Sequence[str]) -> Upward:
        """What came of samples that a source brought, named by their ids."""
        keys = {key_of(name) for name in ids}
        uses = tuple(use for entry in self._shard_sets() for use in self._uses(entry, keys=keys))
        return self._found(subject, (), uses)

    # ------------------------------------------------------------------------------------------------ within

    def _of_talks(self, subject: str, talks: tuple[Talk, ...]) -> Upward:
        keys = {talk.digest: {key_of(sample) for sample in talk.samples} for talk in talks}
        uses: list[Use] = []
        for entry in self._shard_sets():
            parent = entry.manifest.parents.get("generate", "")
            if parent in keys:
                uses += self._uses(entry, keys=keys[parent])
            elif parent not in self._catalogue.by_digest:
                self.unknown.append(f"shard set {entry.manifest.digest}: its conversations {parent or '?'} are gone")
        return self._found(subject, talks, tuple(uses))

    def _talks(self, needles: Set[str]) -> Iterator[Talk]:
        for entry in self._catalogue.of_kind(ConversationSet):
            if (path := self._file(entry, ORIGINS)) is not None:
                samples = {str(line["id"]) for line in lines_with(path, *sorted(needles))}
                if samples:
                    yield Talk(digest=entry.manifest.digest, samples=tuple(sorted(samples)))

    def _shard_sets(self) -> Iterator[Entry]:
        return self._catalogue.of_kind(ShardSet)

    def _uses(self, entry: Entry, parts: Sequence[str] = (), keys: Set[str] = frozenset()) -> Iterator[Use]:
        for stage in INDICES:
            path = self._file(entry, index_file(Path(), stage).as_posix())
            found = [] if path is None else [(str(one["key"]), str(one["shard"])) for one in _lines(path, parts, keys)]
            if found:
                yield Use(
                    digest=entry.manifest.digest, stage=stage, samples=tuple(key for key, _ in found),
                    shards=tuple(sorted({shard for _, shard in found})),
                )

    def _file(self, entry: Entry, path: str) -> Path | None:
        try:
            return file_of(self._store, entry, path)
        except ArtifactError as error:
            self.unknown.append(str(error))
            return None

    def _found(self, subject: str, talks: tuple[Talk, ...], uses: tuple[Use, ...]) -> Upward:
        checkpoints = list(_checkpoints(self._catalogue, uses))
        versions = list(self._learned(uses, {one.digest for one in checkpoints}))
        return Upward(
            subject=subject, conversations=tuple(dict.fromkeys(talks)), uses=tuple(dict.fromkeys(uses)),
            checkpoints=tuple(checkpoints), versions=tuple(versions), unknown=tuple(dict.fromkeys(self.unknown)),
        )

    def _learned(self, uses: Iterable[Use], checkpoints: Set[str]) -> Iterator[Learner]:
        """Versions by their checkpoint; by their tags where it is gone."""
        trained = {use.digest for use in uses if use.stage in STAGES}
        for one in self._versions:
            checkpoint, shards = one.tags.get("checkpoint", ""), one.data.get("shards", "")
            if checkpoint in checkpoints:
                why = f"holds checkpoint {checkpoint[:12]}"
            elif shards in trained:
                why = f"its tags name shard set {shards[:12]}"
            else:
                if not shards:
                    self.unknown.append(f"version {one.version}: nothing says what it learned from")
                elif shards not in self._catalogue.by_digest:
                    self.unknown.append(f"version {one.version}: its shard set {shards[:12]} is gone")
                continue
            yield Learner(name=one.version, digest=checkpoint, why=why, aliases=one.aliases)


def digests_of(store: Store, catalogue: Catalogue, name: str) -> set[str]:
    """sha256 of the images of a name: itself, or those that image sets have under an id; empty for an unknown id."""
    if SHA256.fullmatch(name):
        return {name}
    return {
        str(line["sha256"])
        for entry in catalogue.of_kind(ImageSet)
        for line in lines_with(file_of(store, entry, "annotations.jsonl"), field("id", name))
        if line["id"] == name
    }


def is_known(store: Store, catalogue: Catalogue, sha256: str) -> bool:
    """Whether an image set has an image of these bytes."""
    return any(
        next(lines_with(file_of(store, entry, "annotations.jsonl"), field("sha256", sha256)), None)
        for entry in catalogue.of_kind(ImageSet)
    )


def _lines(path: Path, parts: Sequence[str], keys: Set[str]) -> Iterator[dict[str, object]]:
    if len(keys) <= FEW:
        yield from lines_with(path, *parts, *(field("key", key) for key in sorted(keys)))
    else:
        yield from (line for line in every_line(path) if line["key"] in keys)


def _checkpoints(catalogue: Catalogue, uses: Iterable[Use]) -> Iterator[Learner]:
    """Checkpoints whose training samples they were among, and those that went on from such a one."""
    used = {(use.digest, use.stage) for use in uses}
    learned: dict[str, Learner] = {}
    entries = [entry for entry in catalogue.of_kind(Checkpoint) if entry.stage in STAGES]
    for entry in sorted(entries, key=lambda entry: STAGES.index(entry.stage)):
        parents = entry.manifest.parents
        before = parents.get("align", "")
        # Its own shards, and those that it mixed with them.
        read = (digest for name, digest in parents.items() if name == "shard" or name.startswith("mixture "))
        shards = next((digest for digest in read if (digest, entry.stage) in used), None)
        if shards is not None:
            why = f"trained on shard set {shards[:12]}"
        elif before in learned:
            why = f"goes on from checkpoint {before[:12]}"
        else:
            continue
        digest = entry.manifest.digest
        learned[digest] = Learner(name=entry.stage, digest=digest, why=why)
    yield from learned.values()
