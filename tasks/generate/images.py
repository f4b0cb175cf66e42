"""The captioned images of an ImageSet by place: ids and offsets in memory, the rest read when it is wanted."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from model.records import AnnotatedImage
from tasks.errors import ArtifactError


class _Category(BaseModel):
    model_config = ConfigDict(extra="ignore")

    category: str


class _Head(BaseModel):
    """What the index needs of a record."""

    model_config = ConfigDict(extra="ignore")

    id: str
    captions: tuple[str, ...]
    boxes: tuple[_Category, ...] = ()


class CaptionedImages:
    """Random access to the records of `annotations.jsonl` that have a caption. A context manager.

    Raises ArtifactError when they cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.ids: list[str] = []
        """Sorted, as the file is."""
        self.uncaptioned = 0
        self.categories: set[str] = set()
        """All that boxes name."""
        self._path = folder / "annotations.jsonl"
        self._offsets = array("q")
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise self._broken() from error
        try:
            self._index()
        except (OSError, ValidationError) as error:
            self._file.close()
            raise self._broken() from error

    def _index(self) -> None:
        offset = 0
        for line in self._file:
            head = _Head.model_validate_json(line)
            if any(caption.strip() for caption in head.captions):
                self.ids.append(head.id)
                self._offsets.append(offset)
                self.categories.update(box.category for box in head.boxes)
            else:
                self.uncaptioned += 1
            offset += len(line)

    def read(self, place: int) -> AnnotatedImage:
        """The record of an image, by its place among `ids`."""
        try:
            self._file.seek(self._offsets[place])
            return AnnotatedImage.model_validate_json(self._file.readline())
        except (OSError, ValidationError) as error:
            raise self._broken() from error

    def _broken(self) -> ArtifactError:
        return ArtifactError(f"{self._path} cannot be read; run again to rebuild it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
