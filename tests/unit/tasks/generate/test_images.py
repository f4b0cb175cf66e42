"""Random access to the captioned images of an ImageSet."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.records import AnnotatedImage, Box
from tasks.errors import ArtifactError
from tasks.generate.images import CaptionedImages


def image(identity: str, *captions: str, category: str = "dog") -> AnnotatedImage:
    return AnnotatedImage(
        id=identity, part="", span=(0, 0), format="jpg", width=1, height=1, sha256="", captions=captions,
        boxes=(Box(category=category, box=(0, 0, 1, 1)),),
    )


def write(folder: Path, *images: AnnotatedImage) -> Path:
    (folder / "annotations.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in images), "utf-8")
    return folder


def test_every_captioned_image_is_read_by_its_place(tmp_path: Path) -> None:
    images = [image("a", "Ein H\u00fcndchen."), image("b", " "), image("c", "\u72d7", category="bus")]
    with CaptionedImages(write(tmp_path, *images)) as captioned:
        assert captioned.ids == ["a", "c"]
        assert [captioned.read(place) for place in (1, 0, 1)] == [images[2], images[0], images[2]]
        assert captioned.uncaptioned == 1
        assert captioned.categories == {"dog", "bus"}


def test_a_broken_record_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with (write(tmp_path, image("a", "A dog.")) / "annotations.jsonl").open("a") as lines:
        lines.write('{"id": "b"\n')
    with pytest.raises(ArtifactError, match=r"annotations\.jsonl"):
        CaptionedImages(tmp_path)
    with pytest.raises(ArtifactError, match=r"annotations\.jsonl"):
        CaptionedImages(tmp_path / "nowhere")
