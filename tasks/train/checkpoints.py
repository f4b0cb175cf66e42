"""Checkpoints of a stage under way: where they lie, when one is whole, which are kept, the finished model beside them.

    <uri>/step-00000040/part-00000.safetensors   what rank 0 holds (tasks/train/partitions.py)
                        part-00000.json          its marker, written last: sizes and checksums of the rank's files
                        state.json               everything else, of rank 0 (tasks/train/state.py)
                        part-00001...            the same of the other ranks
    <uri>/final/...                              the finished model, its marker last

The uri is a folder that every worker reaches, or s3://bucket/prefix. A checkpoint is whole when every rank's marker is
there and all come from the same starts, so no rank ever waits for another to write one. Nothing is believed for
its name: before a checkpoint is gone on from, its bytes are compared with the checksums.

Ray Train's own checkpoints are not used (docs/decisions/0014-checkpoints-of-our-own.md).
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from tasks.artifacts import Frozen
from tasks.errors import TrainingError
from tasks.train.place import Files, Place

FINAL = "final"
CHUNK = 1 << 22


class Sum(Frozen):
    """What a file has to be: its size, and its CRC-32, which costs a third of a SHA-256 and finds torn files too."""

    size: int
    crc32: int

    @classmethod
    def of(cls, path: Path) -> Sum:
        """Of a local file."""
        crc = 0
        with path.open("rb") as handle:
            while chunk := handle.read(CHUNK):
                crc = zlib.crc32(chunk, crc)
        return cls(size=path.stat().st_size, crc32=crc)


class Marker(Frozen):
    """What a rank says when its files of a checkpoint are all written."""

    step: int
    ranks: int
    starts: list[tuple[int, int]]
    """First step and number of workers of each start so far: parts of one checkpoint have to share them, as two runs
    that came to the same step by other numbers of workers differ in rounding."""
    files: dict[str, Sum]


class Checkpoints:
    """The checkpoints at a place. `scratch` is a local folder of this process for what is on its way."""

    def __init__(self, place: Place, scratch: Path, keep: int) -> None:
        self.place, self.keep = place, keep
        self.files = Files(place, scratch)

    def write(self, step: int, rank: int, ranks: int, starts: Sequence[tuple[int, int]], made: Sequence[Path]) -> int:
        """Bring a rank's local files to their place, marker last; they are moved away. Returns their bytes.

        Raises EnvironmentProblem when the place cannot be written for good.
        """
        folder, marker = _folder(step), f"{_folder(step)}/{_marker(rank)}"
        sums = {path.name: Sum.of(path) for path in made}
        told = Marker(step=step, ranks=ranks, starts=list(starts), files=sums).model_dump_json().encode()

        def bring() -> None:
            # What a killed run left of this step is none from here on.
            self.files.forget(marker)
            for path in made:
                self.files.put(path, f"{folder}/{path.name}")
            self.files.write(marker, told)

        self.place.trying(f"writing the checkpoint of step {step}", bring)
        for path in made:
            path.unlink(missing_ok=True)
        return sum(entry.size for entry in sums.values())

    def whole(self) -> dict[int, Marker]:
        """Whole checkpoints by step, newest first, as their markers say; bytes are compared by `fetch`."""
        found: dict[int, dict[int, Marker]] = {}
        for name in self.files.names():
            folder, _, file = name.partition("/")
            if folder.startswith("step-") and file.endswith(".json") and file.startswith("part-"):
                with suppress(FileNotFoundError, ValidationError):  # gone meanwhile; half of a marker is none
                    marker = Marker.model_validate_json(self.files.read(name))
                    found.setdefault(marker.step, {})[int(file[5:-5])] = marker
        return {
            step: markers[0]
            for step, markers in sorted(found.items(), reverse=True)
            # Other ranks' markers may be left of a start with more workers.
            if 0 in markers and all(_together(markers[0], markers.get(rank)) for rank in range(markers[0].ranks))
        }

    def fetch(self, step: int, rank: int, ranks: int) -> list[Path]:
        """Local files of what a rank needs of a whole checkpoint: its own where as many ranks wrote it, else all.

        Raises TornCheckpoint if a file is missing, or is not as it was written.
        """
        fetched = []
        marker = self._marker_of(step, 0)
        for one in [rank] if marker.ranks == ranks else range(marker.ranks):
            for name, wanted in self._marker_of(step, one).files.items():
                if name.endswith(".safetensors"):
                    fetched.append(self._checked(f"{_folder(step)}/{name}", wanted))
        return fetched

    def read(self, step: int, name: str) -> bytes:
        """A small file of rank 0. Raises TornCheckpoint as `fetch` does."""
        if (wanted := self._marker_of(step, 0).files.get(name)) is None:
            raise TornCheckpoint(f"{name} is missing")
        return self._checked(f"{_folder(step)}/{name}", wanted).read_bytes()

    def prune(self) -> None:
        """Remove all but the newest whole checkpoints, and what is older than those and not whole."""
        whole = list(self.whole())
        if not whole:
            return
        oldest = whole[: self.keep][-1]
        for step in {int(name[5:13]) for name in self.files.names() if name.startswith("step-")}:
            if step < oldest or (step < whole[0] and step not in whole):
                self.remove(step)

    def remove_after(self, step: int) -> None:
        """Remove what was written of later steps than the one that training goes on from."""
        for later in {int(name[5:13]) for name in self.files.names() if name.startswith("step-")}:
            if later > step:
                self.remove(later)

    def remove(self, step: int) -> None:
        """Remove a checkpoint, its markers first."""
        names = [name for name in self.files.names() if name.startswith(f"{_folder(step)}/")]
        for name in sorted(names, key=lambda name: not name.endswith(".json")):
            self.files.forget(name)
        if not self.place.remote:
            shutil.rmtree(Path(self.files.root, _folder(step)), ignore_errors=True)

    # ------------------------------------------------------------------------------------------ the finished model

    def finish(self, folder: Path) -> None:
        """Bring the finished model, a local folder, to its place, marker last."""

        def bring() -> None:
            self.files.forget(f"{FINAL}/{FINAL}")
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                self.files.put(path, f"{FINAL}/{path.relative_to(folder).as_posix()}")
            self.files.write(f"{FINAL}/{FINAL}", b"")

        self.place.trying("writing the finished model", bring)

    def finished(self) -> Path | None:
        """A local folder with the finished model; None where there is none yet."""
        names = [name for name in self.files.names() if name.startswith(f"{FINAL}/")]
        if f"{FINAL}/{FINAL}" not in names:
            return None
        if not self.place.remote:
            return Path(self.files.root, FINAL)
        for name in names:
            self.files.get(name)
        return self.files.scratch / FINAL

    def _marker_of(self, step: int, rank: int) -> Marker:
        try:
            return Marker.model_validate_json(self.files.read(f"{_folder(step)}/{_marker(rank)}"))
        except (FileNotFoundError, ValidationError) as error:
            raise TornCheckpoint(f"the marker of rank {rank} cannot be read") from error

    def _checked(self, name: str, wanted: Sum) -> Path:
        try:
            path = self.files.get(name)
            found = Sum.of(path)
        except FileNotFoundError as error:
            raise TornCheckpoint(f"{name} is missing") from error
        if found.size != wanted.size:
            raise TornCheckpoint(f"{name} has {found.size} of {wanted.size} bytes")
        if found != wanted:
            raise TornCheckpoint(f"{name} was altered")
        return path


class TornCheckpoint(TrainingError):
    """A checkpoint that is not as it was written; the one before it is gone on from instead."""


def _together(first: Marker, other: Marker | None) -> bool:
    return other is not None and (other.ranks, other.starts) == (first.ranks, first.starts)




def part_name(rank: int) -> str:
    """Name of the file with what a rank holds."""
    return f"part-{rank:05d}.safetensors"


def _marker(rank: int) -> str:
    return f"part-{rank:05d}.json"


def _folder(step: int) -> str:
    return f"step-{step:08d}"
