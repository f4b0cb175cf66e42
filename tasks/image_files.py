"""Read an ImageSet: its records one by one, and the bytes of its images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from model.records import AnnotatedImage
from tasks.errors import ArtifactError
from tasks.spans import SpanReader

WITHDRAWN = "withdrawn.txt"
"""Of an ImageSet: the sha256 of images that no model may learn from, one a line; where there are any."""


def withdrawn_from(folder: Path) -> frozenset[str]:
    """sha256 of the images that no sample may show, whatever part of an ImageSet would bring them."""
    path = folder / WITHDRAWN
    return frozenset(path.read_text(encoding="ascii").split()) if path.exists() else frozenset()


def read_annotations(folder: Path) -> Iterator[AnnotatedImage]:
    """The images of an ImageSet in the order of their ids. Raises ArtifactError when they cannot be read."""
    path = folder / "annotations.jsonl"
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield AnnotatedImage.model_validate_json(line)
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path} cannot be read; run again to rebuild it") from error


class ImageFiles:
    """The encoded images of an ImageSet. Threads may share one; a copy sent to another process opens its own files."""

    def __init__(self, folder: Path) -> None:
        self._spans = SpanReader(folder)

    def read(self, image: AnnotatedImage) -> bytes:
        """The bytes of an image as it came. Raises ArtifactError when its part is missing or cut off."""
        return self._spans.read(image.part, *image.span)

    def close(self) -> None:
        """Close the parts that are open; a later read opens them again."""
        self._spans.close()

    def __enter__(self) -> ImageFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
