"""The records that data stages write and training and evaluation read. Pure: no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

IMAGE_TOKEN = "<image>"
"""Stands for the image in a human turn, as in the official LLaVA JSON."""

Kind = Literal["caption", "conversation", "detail", "complex", "question", "given"]


class Record(BaseModel):
    """An immutable record, one JSON line."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Box(Record):
    """An object: its category and its box [x1, y1, x2, y2], normalised to the image size (0..1)."""

    category: str
    box: tuple[float, float, float, float]


class AnnotatedImage(Record):
    """An image of an ImageSet; sizes are in pixels. Its bytes are read by `tasks.image_files.ImageFiles`."""

    id: str
    part: str
    """The tar that holds it, relative to the artifact's folder."""
    span: tuple[int, int]
    """Offset of its first byte in the tar, and its size in bytes."""
    format: Literal["jpg", "png"]
    width: int
    height: int
    sha256: str
    phash: str | None = None
    """64-bit perceptual hash, 16 hex digits; None for an image too flat to have a meaningful one."""
    captions: tuple[str, ...]
    boxes: tuple[Box, ...] = ()


class Turn(Record):
    """One turn, with the field names of the official LLaVA JSON."""

    role: Literal["human", "gpt"] = Field(alias="from")
    text: str = Field(alias="value")


class Sample(Record):
    """One training example: the official LLaVA JSON fields, and the kind of sample it is.

    Turns alternate, human first, and end with a gpt turn. A sample with an image names it by the id of its
    AnnotatedImage and holds exactly one image token, in its first human turn; one without has none. One with several
    images has a token for each, in the order of the images, in whichever human turns.
    """

    id: str
    image: str | None = None
    """Its image, or the first of several."""
    more_images: tuple[str, ...] | None = None
    """Its further images; None for none."""
    kind: Kind
    conversations: tuple[Turn, ...]

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        roles = [turn.role for turn in self.conversations]
        if not roles or len(roles) % 2 or roles != ["human", "gpt"] * (len(roles) // 2):
            raise ValueError(f"sample {self.id}: turns must alternate human, gpt and end with gpt; got {roles}")
        tokens = [turn.text.count(IMAGE_TOKEN) if turn.role == "human" else 0 for turn in self.conversations]
        wanted = len(self.images)
        if self.more_images is not None:
            if self.image is None or not self.more_images:
                raise ValueError(f"sample {self.id}: more images need a first one, and are at least one")
            if sum(tokens) != wanted:
                raise ValueError(f"sample {self.id}: {wanted} image tokens belong in the human turns; got {tokens}")
            return self
        if sum(tokens) != wanted or tokens[0] != wanted:
            raise ValueError(f"sample {self.id}: {wanted} image token(s) belong in the first human turn; got {tokens}")
        return self

    @property
    def images(self) -> tuple[str, ...]:
        """Its images, in the order of their tokens."""
        return () if self.image is None else (self.image, *(self.more_images or ()))

    def line(self) -> str:
        """The sample as one JSON line, official field names."""
        return self.model_dump_json(by_alias=True, exclude_none=True)
