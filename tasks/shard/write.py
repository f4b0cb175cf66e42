"""Write samples into WebDataset tars that are byte-identical for identical input, and the index that finds them."""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tasks.errors import DataError
from tasks.shard.samples import Item, rank
from tasks.shards import IndexEntry, Member, index_file

BLOCK = tarfile.BLOCKSIZE
END = tarfile.RECORDSIZE
"""A tar ends with two empty blocks and is filled up to a whole record: at most this many bytes more."""
LONGEST_KEY = 80
"""Characters of a key; with its extension it fits the 100 of a tar header."""
FORMATS = ("jpg", "png")


@dataclass(frozen=True)
class Limits:
    """Bounds of one shard; a single sample larger than `max_bytes` has a shard of its own."""

    max_samples: int
    max_bytes: int


@dataclass(frozen=True)
class Entry:
    """A sample ready to be written: its key and the encoded members, by extension."""

    key: str
    members: dict[str, bytes]

    def size(self) -> int:
        """Bytes it takes in a tar: a header and whole blocks a member."""
        return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in self.members.values())


def key_of(name: str) -> str:
    """The key of a sample id: letters, digits, `-` and `_` only.

    A WebDataset reader ends the key at the first dot and takes a slash for a folder. An id that had to be changed
    gets a digest, so that two ids never share a key.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return safe if safe == name and 0 < len(name) <= LONGEST_KEY else f"{safe[: LONGEST_KEY - 17]}-{rank(name)[:16]}"


def in_mixed_order(items: Iterable[Item]) -> list[Item]:
    """Items sorted by a hash of their ids, so that each shard holds all kinds. Raises DataError on an id used twice."""
    ordered = sorted(items, key=lambda item: (rank(item.sample.id), item.sample.id))
    for one, other in pairwise(ordered):
        if one.sample.id == other.sample.id:
            raise DataError(f"two samples have the id {one.sample.id}; ids must be unique")
    return ordered


def write_stage(
    folder: Path, stage: str, items: Sequence[Item], limits: Limits, written: Callable[[int], None]
) -> tuple[int, int]:
    """Write a stage's shards and its index; returns the number of shards and their size in bytes.

    `written` is called with the number of samples written so far, after each shard. Raises DataError naming the
    sample whose image cannot be read.
    """
    index = index_file(folder, stage)
    index.parent.mkdir(parents=True, exist_ok=True)
    (folder / stage).mkdir()
    shards = size = samples = 0
    with index.open("w", encoding="utf-8", newline="\n") as lines:
        for entries in _shards(map(_entry, items), limits):
            name = f"{stage}/shard-{shards:05d}.tar"
            _write_tar(folder / name, entries)
            for found in _index_of(folder / name, name):
                lines.write(found.line() + "\n")
            shards, size, samples = shards + 1, size + (folder / name).stat().st_size, samples + len(entries)
            written(samples)
    return shards, size


def _entry(item: Item) -> Entry:
    members = {"json": item.sample.line().encode()}
    if item.image is not None:
        if item.image.format not in FORMATS:
            raise DataError(f"sample {item.sample.id}: {item.image.where} is neither .jpg nor .png")
        try:
            members[item.image.format] = item.image.read()
        except OSError as error:
            raise DataError(
                f"sample {item.sample.id}: its image {item.image.where} cannot be read ({error.strerror})"
            ) from error
    return Entry(key_of(item.sample.id), members)


def _shards(entries: Iterable[Entry], limits: Limits) -> Iterator[list[Entry]]:
    shard: list[Entry] = []
    size = END
    for entry in entries:
        if shard and (len(shard) >= limits.max_samples or size + entry.size() > limits.max_bytes):
            yield shard
            shard, size = [], END
        shard.append(entry)
        size += entry.size()
    if shard:
        yield shard


def _write_tar(path: Path, entries: Iterable[Entry]) -> None:
    # Here, not above: importing webdataset imports torch, and `plan` imports this stage.
    from webdataset.writer import TarWriter

    with (
        path.open("wb") as handle,
        TarWriter(handle, user="root", group="root", mode=0o644, compress=False, encoder=False, mtime=0) as tar,
    ):
        for entry in entries:
            tar.write({"__key__": entry.key, **entry.members})


def _index_of(path: Path, shard: str) -> Iterator[IndexEntry]:
    """The index entries of a finished tar, read back from it: what is recorded is what lies on the disk."""
    members: dict[str, dict[str, Member]] = {}
    with tarfile.open(path, "r:") as tar, path.open("rb") as handle:
        for header in tar:
            key, extension = header.name.split(".", 1)
            handle.seek(header.offset_data)
            digest = hashlib.sha256(handle.read(header.size)).hexdigest()
            part = "json" if extension == "json" else "image"
            members.setdefault(key, {})[part] = (header.offset_data, header.size, digest)
    for key, found in members.items():
        yield IndexEntry(key=key, shard=shard, record=found["json"], image=found.get("image"))
