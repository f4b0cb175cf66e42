"""What has come of each wish, on disk until all is known: rows by the wish's number, offsets in memory."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path
from typing import Self


class Spool:
    """One row at most a wish, in any order, in a file that has no name and so never outlives the process."""

    def __init__(self, folder: Path, size: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `__exit__`
        self._offsets = array("q", [-1]) * size
        self._end = 0
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, number: int) -> bool:
        return self._offsets[number] >= 0

    def __setitem__(self, number: int, row: str) -> None:
        data = row.encode() + b"\n"
        self._file.seek(self._end)
        self._file.write(data)
        self._offsets[number], self._end, self._rows = self._end, self._end + len(data), self._rows + 1

    def __getitem__(self, number: int) -> str:
        self._file.seek(self._offsets[number])
        return self._file.readline().decode().removesuffix("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
