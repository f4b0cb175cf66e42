"""Find lines of large JSONL files. Digests and keys stand in them as they are, so a search compares bytes.

A million lines are a few hundred megabytes, which is searched in well under a second: no index is kept.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def lines_with(path: Path, *parts: str) -> Iterator[dict[str, Any]]:
    """The lines, as JSON, that hold one of the parts; each line once a part, in the order of the file."""
    if not path.stat().st_size:
        return
    with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for part in parts:
            needle, at = part.encode(), 0
            while (at := data.find(needle, at)) >= 0:
                start, end = data.rfind(b"\n", 0, at) + 1, data.find(b"\n", at)
                end = len(data) if end < 0 else end
                yield json.loads(data[start:end])
                at = end


def every_line(path: Path) -> Iterator[dict[str, Any]]:
    """All lines, as JSON."""
    with path.open("rb") as lines:
        for line in lines:
            yield json.loads(line)


def field(name: str, value: str) -> str:
    """How a field of a line that pydantic wrote looks."""
    return f'"{name}":{json.dumps(value, ensure_ascii=False)}'
