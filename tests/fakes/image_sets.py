"""ImageSets written as ingest writes them, of images that a test makes up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.records import AnnotatedImage, Box
from tasks.ingest.parts import PartWriter


@dataclass(frozen=True)
class Made:
    """An image to write."""

    id: str
    data: bytes
    captions: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    format: Literal["jpg", "png"] = "jpg"
    size: tuple[int, int] = (96, 96)


def write_image_set(folder: Path, images: Iterable[Made]) -> list[AnnotatedImage]:
    """Write images/ and annotations.jsonl; returns the records."""
    records = []
    with PartWriter(folder) as parts:
        for made in sorted(images, key=lambda made: made.id):
            part, span = parts.add(f"{made.id}.{made.format}", made.data)
            digest = hashlib.sha256(made.data).hexdigest()
            records.append(
                AnnotatedImage(
                    id=made.id, part=part, span=span, format=made.format, width=made.size[0], height=made.size[1],
                    sha256=digest, captions=made.captions, boxes=made.boxes,
                )
            )
    text = "".join(record.model_dump_json() + "\n" for record in records)
    (folder / "annotations.jsonl").write_text(text, encoding="utf-8")
    return records
