"""Random access to the samples of a ShardSet: its index, and a reader that seeks instead of streaming.

`tasks/shard` writes what this module reads; training reads samples by their number, in whatever order its step asks
for. The shards stay plain WebDataset tars: nothing here is needed to read them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from model.records import Sample
from tasks.artifacts import FileEntry, Frozen
from tasks.errors import ArtifactError
from tasks.spans import SpanReader, Spans

Member = tuple[int, int, str]
"""A member of a tar: offset of its first byte in the tar, size in bytes, sha256."""


class IndexEntry(Frozen):
    """Where one sample lies. `shard` is relative to the artifact's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    key: str
    shard: str
    record: Member = Field(alias="json")
    image: Member | None = None
    more: tuple[Member, ...] | None = None
    """Further images of a sample that has several."""

    def line(self) -> str:
        """The entry as one JSON line."""
        return self.model_dump_json(by_alias=True, exclude=None if self.more else {"more"})


class ShardEntry(Frozen):
    """One shard of a ShardSet. `shard` is relative to the artifact's folder."""

    shard: str
    content: str
    """Digest of what went in: two shards of the same content are the same bytes, in whatever set."""
    samples: int
    size: int
    sha256: str

    @property
    def file(self) -> FileEntry:
        """Its entry in the manifest's table of files."""
        return FileEntry(size=self.size, sha256=self.sha256)

    def line(self) -> str:
        """The entry as one JSON line."""
        return self.model_dump_json()


PNG = b"\x89PNG\r\n\x1a\n"
"""What every PNG file begins with."""
SHARD_TABLE = "shards.jsonl"
STAGES = ("align", "instruct")


def held_out(stage: str) -> str:
    """The name under which an index lists a stage's samples that are kept from training."""
    return f"held_out_{stage}"


def index_file(folder: Path, stage: str) -> Path:
    """The index of a stage's samples ("align", "instruct", or `held_out` of them)."""
    return folder / "index" / f"{stage}.jsonl"


def read_index(folder: Path, stage: str) -> list[IndexEntry]:
    """The entries of a stage, in shard order. Raises ArtifactError when the index is missing or altered."""
    return [entry for _, entry in _index_lines(index_file(folder, stage))]


def _index_lines(path: Path) -> Iterator[tuple[int, IndexEntry]]:
    """The entries of an index, each with the size of its line in bytes."""
    try:
        with path.open("rb") as lines:
            for line in lines:
                yield len(line), IndexEntry.model_validate_json(line)
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild the shards") from error


def _line_ends(path: Path) -> array[int]:
    """Where the lines of an index begin, and where the last one ends. Raises ArtifactError when it is missing."""
    try:
        with path.open("rb") as lines:
            return array("q", accumulate(map(len, lines), initial=0))
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild the shards") from error


class ShardReader:
    """The samples of one stage by number, 0 .. len - 1, in shard order.

    `source` is the artifact's local folder, or what reads it where it lies (`tasks.remote_spans`). Threads may share
    one reader. A copy sent to another process opens its own files. Of an index of a million samples only the places of
    its lines are kept in memory; a line is read when its sample is.
    """

    def __init__(self, source: Path | Spans, stage: str) -> None:
        self.stage = stage
        self._spans = SpanReader(source) if isinstance(source, Path) else source
        self._index = index_file(Path(), stage).as_posix()
        self._ends = _line_ends(self._spans.whole(self._index))
        if len(self):
            self.entry(len(self) - 1)  # an index that is cut off is found at once, other faults where they are read

    def __len__(self) -> int:
        return len(self._ends) - 1

    def keys(self) -> list[str]:
        """Keys of the samples, in the order of their numbers."""
        return [entry.key for _, entry in self._indexed()]

    def entry(self, number: int) -> IndexEntry:
        """Where the sample of a number lies. Raises ArtifactError when the index is not as it was."""
        start, end = self._ends[number], self._ends[number + 1]
        try:
            return IndexEntry.model_validate_json(self._lines.read(self._lines_name, start, end - start))
        except ValidationError as error:
            told = f"{self._spans.place}/{self._index} was altered; run again to rebuild the shards"
            raise ArtifactError(told) from error

    def sample(self, number: int) -> Sample:
        """The sample of a number. Raises ArtifactError when its shard is missing, cut off or altered."""
        entry = self.entry(number)
        try:
            return Sample.model_validate_json(self._read(entry.shard, entry.record))
        except ValidationError as error:
            told = f"{self._spans.place}/{entry.shard}: sample {entry.key} cannot be read; run again"
            raise ArtifactError(told) from error

    def image_bytes(self, number: int) -> bytes | None:
        """The encoded image of a sample, as it came, the first of several; None for a text-only sample.

        Raises as `sample` does.
        """
        entry = self.entry(number)
        return None if entry.image is None else self._read(entry.shard, entry.image)

    def images(self, number: int) -> list[bytes]:
        """All encoded images of a sample, in the order of their tokens. Raises as `sample` does."""
        entry = self.entry(number)
        members = [] if entry.image is None else [entry.image, *(entry.more or ())]
        return [self._read(entry.shard, member) for member in members]

    def image_format(self, number: int) -> Literal["jpg", "png"] | None:
        """The format of a sample's image, by its first bytes; None for a text-only sample. Raises as `sample` does."""
        entry = self.entry(number)
        if entry.image is None:
            return None
        first = self._spans.read(entry.shard, entry.image[0], min(entry.image[1], len(PNG)))
        return "png" if first == PNG else "jpg"

    def close(self) -> None:
        """Close the shards that are open; a later read opens them again."""
        self._spans.close()
        self._lines.close()

    def __getstate__(self) -> dict[str, Any]:
        # Where the index lies is each process's own: a remote one is fetched where it is read.
        return {name: value for name, value in vars(self).items() if name not in ("_lines", "_lines_name")}

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, shard: str, member: Member) -> bytes:
        offset, size, sha256 = member
        return self._spans.read(shard, offset, size, sha256)

    @cached_property
    def _lines(self) -> SpanReader:
        """Reads the index: of a remote artifact the one file that is wanted whole, and again and again."""
        return SpanReader(self._spans.whole(self._index).parent)

    @cached_property
    def _lines_name(self) -> str:
        return self._spans.whole(self._index).name

    def _indexed(self) -> Iterator[tuple[int, IndexEntry]]:
        return _index_lines(self._spans.whole(self._index))
