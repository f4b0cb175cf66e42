"""Reads byte ranges of the files of an artifact: what an index points at, without reading a file from its start.

`SpanReader` reads a local folder; `tasks.remote_spans` reads an artifact where it lies in an object store.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any, Protocol

from tasks.errors import ArtifactError


class Spans(Protocol):
    """Byte ranges of the files of one artifact, by relative POSIX path. Threads may share it; it can be pickled."""

    @property
    def place(self) -> str:
        """Where the artifact lies: a folder or a uri, for messages."""

    def read(self, file: str, offset: int, size: int, sha256: str | None = None) -> bytes:
        """So many bytes of a file from an offset, `sha256` their digest where it is known.

        Raises ArtifactError when the file is missing, cut off, or altered.
        """

    def whole(self, file: str) -> Path:
        """A local copy of one file. Raises ArtifactError when it is missing or altered."""

    def close(self) -> None:
        """Close the files that are open; a later read opens them again."""


class SpanReader:
    """Byte ranges of files under a folder. Reads with `pread`, so threads may share one reader.

    Files are opened once and stay open until `close`. A copy sent to another process opens its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def place(self) -> str:
        """See `Spans`."""
        return str(self.folder)

    def read(self, file: str, offset: int, size: int, sha256: str | None = None) -> bytes:
        """See `Spans`. Digests are not compared: whoever took the folder from the store has compared its files."""
        data = os.pread(self._descriptor(file), size, offset)
        if len(data) != size:
            raise ArtifactError(f"{self.folder / file} is cut off; run again to rebuild it")
        return data

    def whole(self, file: str) -> Path:
        """See `Spans`."""
        return self.folder / file

    def close(self) -> None:
        """See `Spans`."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]

    def _descriptor(self, file: str) -> int:
        with self._lock:
            if file not in self._files:
                try:
                    self._files[file] = os.open(self.folder / file, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise ArtifactError(f"{self.folder / file} cannot be opened; run again to rebuild it") from error
            return self._files[file]
