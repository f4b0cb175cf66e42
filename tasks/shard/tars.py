"""Plain WebDataset tars, byte-identical for identical members: no time and no owner of this machine is in them."""

from __future__ import annotations

import re
import tarfile

from tasks.shard.samples import rank
from tasks.sinks import SinkFile

LAYOUT = "1"
"""Version of the bytes that the same members become: a shard of another version is never taken over."""
BLOCK = tarfile.BLOCKSIZE
END = tarfile.RECORDSIZE
"""A tar ends with two empty blocks and is filled up to a whole record: at most this many bytes more."""
LONGEST_KEY = 80
"""Characters of a key; with its extension it fits the 100 of a tar header."""


def key_of(name: str) -> str:
    """The key of a sample id: letters, digits, `-` and `_` only.

    A WebDataset reader ends the key at the first dot and takes a slash for a folder. An id that had to be changed
    gets a digest, so that two ids never share a key.
    """
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return safe if safe == name and 0 < len(name) <= LONGEST_KEY else f"{safe[: LONGEST_KEY - 17]}-{rank(name)[:16]}"


def padded(size: int) -> int:
    """Bytes that a member's data take in a tar: whole blocks."""
    return -(-size // BLOCK) * BLOCK


def append(tar: SinkFile, name: str, data: bytes) -> None:
    """Append a member."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(data), 0o644
    header.uname = header.gname = "root"
    tar.write(header.tobuf(tarfile.USTAR_FORMAT))
    tar.write(data)
    tar.write(bytes(padded(len(data)) - len(data)))


def finish(tar: SinkFile) -> None:
    """Write the end of the tar."""
    end = tar.size + 2 * BLOCK
    tar.write(bytes(-(-end // END) * END - tar.size))
