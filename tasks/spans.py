"""Reads byte ranges of the files of an artifact: what an index points at, without reading a file from its start."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from tasks.errors import ArtifactError


class SpanReader:
    """Byte ranges of files under a folder. Reads with `pread`, so threads may share one reader.

    Files are opened once and stay open until `close`. A copy sent to another process opens its own.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, file: str, offset: int, size: int) -> bytes:
        """So many bytes of a file from an offset. Raises ArtifactError when the file is missing or cut off."""
        data = os.pread(self._descriptor(file), size, offset)
        if len(data) != size:
            raise ArtifactError(f"{self.folder / file} is cut off; run again to rebuild it")
        return data

    def close(self) -> None:
        """Close the files that are open; a later read opens them again."""
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
