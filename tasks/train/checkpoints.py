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

import os
import shutil
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from pydantic import ValidationError

from tasks.artifacts import Frozen
from tasks.errors import EnvironmentProblem, TrainingError

FINAL = "final"
ON_ITS_WAY = ".on-its-way"
"""Folder at a local place where files are written before they are moved to their names: no copy on the same disk."""
CHUNK = 1 << 22
BACKOFF = (1.0, 4.0, 15.0, 40.0)
"""Seconds before each further try to reach a store that failed; a minute in all."""

Result = TypeVar("Result")


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


@dataclass(frozen=True)
class Place:
    """Where the checkpoints of one stage under way lie; plain values, so that it travels to any node."""

    uri: str
    options: dict[str, Any] = field(default_factory=dict)
    """For fsspec, of a remote store. Keys come from the environment."""
    backoff: tuple[float, ...] = BACKOFF

    @property
    def remote(self) -> bool:
        """Whether it is an object store."""
        return "://" in self.uri

    def trying(self, what: str, action: Callable[[], Result]) -> Result:
        """The action's result; tried again after a while when the store fails.

        Raises EnvironmentProblem, naming the remedy, when it fails for good; FileNotFoundError at once.
        """
        # Broad, as botocore, aiohttp and s3fs share no base class.
        for pause in (*self.backoff, None):
            try:
                return action()
            except FileNotFoundError:
                raise
            except Exception as error:
                if pause is None:
                    told = " ".join(str(error).split())[:200] or type(error).__name__
                    raise EnvironmentProblem(
                        f"{what} failed {len(self.backoff) + 1} times ({told}); earlier checkpoints are kept: see to "
                        f"{self.uri} and run again"
                    ) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")


class Checkpoints:
    """The checkpoints at a place. `scratch` is a local folder of this process for what is on its way."""

    def __init__(self, place: Place, scratch: Path, keep: int) -> None:
        self.place, self.keep, self._scratch = place, keep, scratch
        self._root = place.uri.rstrip("/")

    def write(self, step: int, rank: int, ranks: int, starts: Sequence[tuple[int, int]], made: Sequence[Path]) -> int:
        """Bring a rank's local files to their place, marker last; they are moved away. Returns their bytes.

        Raises EnvironmentProblem when the place cannot be written for good.
        """
        folder, marker = _folder(step), f"{_folder(step)}/{_marker(rank)}"
        sums = {path.name: Sum.of(path) for path in made}
        told = Marker(step=step, ranks=ranks, starts=list(starts), files=sums).model_dump_json().encode()

        def bring() -> None:
            # What a killed run left of this step is none from here on.
            self._forget(marker)
            for path in made:
                self._put(path, f"{folder}/{path.name}")
            self._write(marker, told)

        self.place.trying(f"writing the checkpoint of step {step}", bring)
        for path in made:
            path.unlink(missing_ok=True)
        return sum(entry.size for entry in sums.values())

    def whole(self) -> dict[int, Marker]:
        """Whole checkpoints by step, newest first, as their markers say; bytes are compared by `trouble`."""
        found: dict[int, dict[int, Marker]] = {}
        for name in self._names():
            folder, _, file = name.partition("/")
            if folder.startswith("step-") and file.endswith(".json") and file.startswith("part-"):
                with suppress(FileNotFoundError, ValidationError):  # gone meanwhile; half of a marker is none
                    marker = Marker.model_validate_json(self._read(name))
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
        for step in {int(name[5:13]) for name in self._names() if name.startswith("step-")}:
            if step < oldest or (step < whole[0] and step not in whole):
                self.remove(step)

    def remove_after(self, step: int) -> None:
        """Remove what was written of later steps than the one that training goes on from."""
        for later in {int(name[5:13]) for name in self._names() if name.startswith("step-")}:
            if later > step:
                self.remove(later)

    def remove(self, step: int) -> None:
        """Remove a checkpoint, its markers first."""
        names = [name for name in self._names() if name.startswith(f"{_folder(step)}/")]
        for name in sorted(names, key=lambda name: not name.endswith(".json")):
            self._forget(name)
        if not self.place.remote:
            shutil.rmtree(Path(self._root, _folder(step)), ignore_errors=True)

    # ------------------------------------------------------------------------------------------ the finished model

    def finish(self, folder: Path) -> None:
        """Bring the finished model, a local folder, to its place, marker last."""

        def bring() -> None:
            self._forget(f"{FINAL}/{FINAL}")
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                self._put(path, f"{FINAL}/{path.relative_to(folder).as_posix()}")
            self._write(f"{FINAL}/{FINAL}", b"")

        self.place.trying("writing the finished model", bring)

    def finished(self) -> Path | None:
        """A local folder with the finished model; None where there is none yet."""
        names = [name for name in self._names() if name.startswith(f"{FINAL}/")]
        if f"{FINAL}/{FINAL}" not in names:
            return None
        if not self.place.remote:
            return Path(self._root, FINAL)
        for name in names:
            self._get(name)
        return self._scratch / FINAL

    def clear(self) -> None:
        """Remove everything."""
        if not self.place.remote:
            shutil.rmtree(self._root, ignore_errors=True)
        elif self._names():
            self.place.trying("removing checkpoints", lambda: self._filesystem.rm(self._root, recursive=True))

    # ------------------------------------------------------------------------------------------ files and objects

    @cached_property
    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self._root, **self.place.options)[0]

    def _marker_of(self, step: int, rank: int) -> Marker:
        try:
            return Marker.model_validate_json(self._read(f"{_folder(step)}/{_marker(rank)}"))
        except (FileNotFoundError, ValidationError) as error:
            raise TornCheckpoint(f"the marker of rank {rank} cannot be read") from error

    def _checked(self, name: str, wanted: Sum) -> Path:
        try:
            path = self._get(name)
            found = Sum.of(path)
        except FileNotFoundError as error:
            raise TornCheckpoint(f"{name} is missing") from error
        if found.size != wanted.size:
            raise TornCheckpoint(f"{name} has {found.size} of {wanted.size} bytes")
        if found != wanted:
            raise TornCheckpoint(f"{name} was altered")
        return path

    def _names(self) -> list[str]:
        """Everything there is, relative to the root."""
        if not self.place.remote:
            root = Path(self._root)
            found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            return sorted(name for name in found if not name.startswith(ON_ITS_WAY))

        def listed() -> list[str]:
            self._filesystem.invalidate_cache()
            base = str(self._filesystem._strip_protocol(self._root)).rstrip("/") + "/"
            return sorted(str(path).removeprefix(base) for path in self._filesystem.find(self._root))

        try:
            return self.place.trying("listing checkpoints", listed)
        except FileNotFoundError:
            return []

    def _read(self, name: str) -> bytes:
        if not self.place.remote:
            return Path(self._root, name).read_bytes()
        return self.place.trying(f"reading {name}", lambda: bytes(self._filesystem.cat_file(f"{self._root}/{name}")))

    def _get(self, name: str) -> Path:
        """The file itself, or a local copy of a remote one."""
        if not self.place.remote:
            return Path(self._root, name)
        target = self._scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.place.trying(
            f"reading {name}", lambda: self._filesystem.get_file(f"{self._root}/{name}", str(target))
        )
        return target

    def _put(self, source: Path, name: str) -> None:
        if self.place.remote:
            self._filesystem.put_file(str(source), f"{self._root}/{name}")
            return
        target = Path(self._root, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        part.unlink(missing_ok=True)
        try:
            _link(source, part)
            with part.open("rb") as handle:
                os.fsync(handle.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def _write(self, name: str, data: bytes) -> None:
        if self.place.remote:
            self._filesystem.pipe_file(f"{self._root}/{name}", data)
            return
        target = Path(self._root, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(target)

    def _forget(self, name: str) -> None:
        with suppress(FileNotFoundError):
            if self.place.remote:
                self._filesystem.rm_file(f"{self._root}/{name}")
            else:
                Path(self._root, name).unlink()


class TornCheckpoint(TrainingError):
    """A checkpoint that is not as it was written; the one before it is gone on from instead."""


def _together(first: Marker, other: Marker | None) -> bool:
    return other is not None and (other.ranks, other.starts) == (first.ranks, first.starts)


def scratch_at(place: Place, fallback: Path) -> Path:
    """Where files for a place are best written first."""
    return fallback if place.remote else Path(place.uri, ON_ITS_WAY)


def _link(source: Path, target: Path) -> None:
    """A second name for a file where the file system has that, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def part_name(rank: int) -> str:
    """Name of the file with what a rank holds."""
    return f"part-{rank:05d}.safetensors"


def _marker(rank: int) -> str:
    return f"part-{rank:05d}.json"


def _folder(step: int) -> str:
    return f"step-{step:08d}"
