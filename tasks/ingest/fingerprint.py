"""What a source's data look like from outside: a part of the stage's cache key, since the config names only a place."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from configs.schema import CocoSource, JsonlSource
from tasks.artifacts import digest_of
from tasks.storage import file_entry


def fingerprint(source: CocoSource | JsonlSource, root: Path) -> str:
    """A digest that changes when annotations or images do.

    Annotation files count by content, images by name, size and time of change: reading them all would cost as much
    as the stage itself. What is missing counts as such; the stage then says what is wrong.
    """
    names = [source.annotations] if isinstance(source, JsonlSource) else [source.captions, source.instances]
    annotations: list[JsonValue] = [
        [name, file_entry(root / name).sha256 if (root / name).is_file() else None] for name in names
    ]
    images: list[JsonValue] = []
    for path in sorted((root / source.images).rglob("*")):
        if path.is_file():
            stat = path.stat()
            images.append([path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns])
    return digest_of([annotations, images])
