"""The place where checkpoints lie, a folder or a prefix in an object store, and its files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import fsspec

from tasks.errors import EnvironmentProblem

ON_ITS_WAY = ".on-its-way"
"""Folder at a local place where files are written before they are moved to their names: no copy on the same disk."""
BACKOFF = (1.0, 4.0, 15.0, 40.0)
"""Seconds before each further try to reach a store that failed; a minute in all."""

Result = TypeVar("Result")


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


class Files:
    """The files of a place, by their path relative to it. `scratch` is a local folder for copies of remote ones."""

    def __init__(self, place: Place, scratch: Path) -> None:
        self.place, self.scratch = place, scratch
        self.root = place.uri.rstrip("/")

    def names(self) -> list[str]:
        """Everything there is, relative to the root."""
        if not self.place.remote:
            root = Path(self.root)
            found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
            return sorted(name for name in found if not name.startswith(ON_ITS_WAY))

        def listed() -> list[str]:
            self._filesystem.invalidate_cache()
            base = str(self._filesystem._strip_protocol(self.root)).rstrip("/") + "/"
            return sorted(str(path).removeprefix(base) for path in self._filesystem.find(self.root))

        try:
            return self.place.trying("listing checkpoints", listed)
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """A small file. Raises FileNotFoundError."""
        if not self.place.remote:
            return Path(self.root, name).read_bytes()
        return self.place.trying(f"reading {name}", lambda: bytes(self._filesystem.cat_file(f"{self.root}/{name}")))

    def get(self, name: str) -> Path:
        """The file itself, or a local copy of a remote one."""
        if not self.place.remote:
            return Path(self.root, name)
        target = self.scratch / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.place.trying(
            f"reading {name}", lambda: self._filesystem.get_file(f"{self.root}/{name}", str(target))
        )
        return target

    def put(self, source: Path, name: str) -> None:
        """Bring a local file there; it stays."""
        if self.place.remote:
            self._filesystem.put_file(str(source), f"{self.root}/{name}")
            return
        target = Path(self.root, name)
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

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, at once."""
        if self.place.remote:
            self._filesystem.pipe_file(f"{self.root}/{name}", data)
            return
        target = Path(self.root, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(target)

    def forget(self, name: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError):
            if self.place.remote:
                self._filesystem.rm_file(f"{self.root}/{name}")
            else:
                Path(self.root, name).unlink()

    def clear(self) -> None:
        """Remove everything."""
        if not self.place.remote:
            shutil.rmtree(self.root, ignore_errors=True)
        elif self.names():
            self.place.trying("removing checkpoints", lambda: self._filesystem.rm(self.root, recursive=True))

    @cached_property
    def _filesystem(self) -> Any:
        return fsspec.core.url_to_fs(self.root, **self.place.options)[0]


def scratch_at(place: Place, fallback: Path) -> Path:
    """Where files for a place are best written first."""
    return fallback if place.remote else Path(place.uri, ON_ITS_WAY)


def _link(source: Path, target: Path) -> None:
    """A second name for a file where the file system has that, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
