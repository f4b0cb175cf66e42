"""Write the images of an ImageSet into tars: byte-identical for identical input, read by span (`tasks.image_files`)."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

PART_BYTES = 256_000_000
"""A part is closed once it has grown beyond this."""


class PartWriter:
    """The parts under `folder`/images, opened one after the other."""

    def __init__(self, folder: Path, part_bytes: int = PART_BYTES) -> None:
        self._folder, self._part_bytes = folder, part_bytes
        self._number = -1
        self._tar: tarfile.TarFile | None = None
        (folder / "images").mkdir(parents=True, exist_ok=True)

    def add(self, name: str, data: bytes) -> tuple[str, tuple[int, int]]:
        """Append a member; returns the part's path relative to the folder, and (offset, size) of the data in it."""
        tar = self._open()
        header = tarfile.TarInfo(name)
        header.size, header.mode = len(data), 0o644
        header.uname = header.gname = "root"
        # The position before a member, plus what its headers take (a long name has two of them).
        headers = len(header.tobuf(tar.format or tarfile.DEFAULT_FORMAT, tar.encoding or "utf-8", tar.errors))
        offset = tar.offset + headers
        tar.addfile(header, io.BytesIO(data))
        # tarfile keeps every member that it has written.
        tar.members = []  # type: ignore[attr-defined]
        return self._path(), (offset, len(data))

    def close(self) -> None:
        """Finish the part under way."""
        if self._tar is not None:
            self._tar.close()
            self._tar = None

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> tarfile.TarFile:
        if self._tar is not None and self._tar.offset >= self._part_bytes:
            self.close()
        if self._tar is None:
            self._number += 1
            self._tar = tarfile.open(self._folder / self._path(), "w", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        return self._tar

    def _path(self) -> str:
        return f"images/part-{self._number:05d}.tar"
