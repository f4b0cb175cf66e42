"""Write the images of an ImageSet and their records, in the order of their ids, as they come."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import TracebackType

from model.records import AnnotatedImage, Box
from tasks.ingest.images import Decoded
from tasks.ingest.parts import PartWriter
from tasks.ingest.staging import Candidate, Staging


class SetWriter:
    """images/ and annotations.jsonl. Images have to come in the order of their ids; several may have the same one."""

    def __init__(self, folder: Path, staging: Staging) -> None:
        self._staging = staging
        self._parts = PartWriter(folder)
        self._lines = (folder / "annotations.jsonl").open("w", encoding="utf-8")
        self._open: dict[str, AnnotatedImage] = {}
        """Records that may still change, or whose id comes later than the one that is being looked at."""
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> SetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish(None)
        self._parts.close()
        self._lines.close()

    def reached(self, image_id: str) -> None:
        """Say that from here on ids are this one or later."""
        self._finish(image_id)

    def same(self, image_id: str, sha256: str) -> bool:
        """True if the image of this id is there already, with these bytes."""
        return image_id in self._open and self._open[image_id].sha256 == sha256

    def join(self, candidate: Candidate, boxes: tuple[Box, ...]) -> None:
        """Add what a further source says of an image that is there."""
        record = self._open[candidate.raw.id]
        captions = dict.fromkeys((*record.captions, *candidate.raw.captions))
        update = {"captions": tuple(captions), "boxes": record.boxes or boxes}
        self._open[record.id] = record.model_copy(update=update)
        self.counts["joined"] += 1

    def add(self, candidate: Candidate, decoded: Decoded, boxes: tuple[Box, ...]) -> str:
        """Write an image. Returns its id: where another image has the one it came with, it gets a number behind it."""
        facts, image_id = decoded.facts, self._free(candidate.raw.id)
        self.counts["renamed"] += image_id != candidate.raw.id
        part, span = self._parts.add(f"{image_id}.{facts.format}", decoded.data)
        self._open[image_id] = AnnotatedImage(
            id=image_id, part=part, span=span, format="jpg" if facts.format == "jpg" else "png", width=facts.width,
            height=facts.height, sha256=facts.sha256, phash=facts.phash, captions=candidate.raw.captions, boxes=boxes,
        )
        return image_id

    def _free(self, image_id: str) -> str:
        name, number = image_id, 1
        while name in self._open or (number > 1 and self._staging.is_listed(name)):
            number += 1
            name = f"{image_id}-{number}"
        return name

    def _finish(self, before: str | None) -> None:
        for image_id in sorted(self._open):
            if before is not None and image_id >= before:
                return
            record = self._open.pop(image_id)
            self._lines.write(record.model_dump_json() + "\n")
            self.counts["images"] += 1
            self.counts["captioned"] += bool(record.captions)
            self.counts["captions"] += len(record.captions)
            self.counts["boxes"] += len(record.boxes)
