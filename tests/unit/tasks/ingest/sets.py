"""Small sources on disk for the tests of ingest."""

from __future__ import annotations

import io
import json
import os
import random
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from configs.schema import CocoSource, DataConfig, FileSource, ImageLimits, JsonlSource, NearDuplicates
from model.records import AnnotatedImage
from tasks.ingest.places import Place
from tasks.ingest.run import build_image_set
from tasks.ingest.testsets import TestSet
from tasks.progress import Progress, Silent
from tasks.stages import Built

COCO = CocoSource(kind="coco", root="data", captions="captions.json", instances="instances.json", images="images")
JSONL = JsonlSource(kind="jsonl", root="data")
TOLERANT = ImageLimits(max_bad_share=1.0, max_bytes=100_000, max_pixels=100_000)


def scene(number: int, size: tuple[int, int] = (64, 48), kind: str = "PNG", **options: Any) -> bytes:
    """An image with something in it, so that it has a perceptual hash; another number shows something else."""
    draw = random.Random(number)
    small = Image.new("RGB", (8, 8))
    small.putdata([(draw.randrange(256), draw.randrange(256), draw.randrange(256)) for _ in range(64)])
    buffer = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, kind, **options)
    return buffer.getvalue()


def picture(number: int = 0, size: tuple[int, int] = (40, 20), kind: str = "PNG", **options: Any) -> bytes:
    """An image file; another number gives other bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number % 256, 100, 200)).save(buffer, kind, **options)
    return buffer.getvalue()


@dataclass
class CocoFiles:
    """A COCO data set under construction: image id is place in the list, from 1."""

    root: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    captions: list[dict[str, Any]] = field(default_factory=list)
    instances: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, name: str, data: bytes | None, captions: Sequence[str] = ("A caption.",),
        boxes: Sequence[Sequence[float]] = (), size: tuple[int, int] = (40, 20),
    ) -> int:
        """Add an image and its annotations; without data, only what the files say of it."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        self.captions += [{"image_id": number, "caption": caption} for caption in captions]
        self.instances += [{"image_id": number, "category_id": 1, "bbox": list(box), "iscrowd": 0} for box in boxes]
        if data is not None:
            path = self.root / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return number

    def good(self, number: int) -> None:
        """Add so many images with nothing wrong."""
        for place in range(number):
            self.add(f"good{place}.png", picture(place), boxes=[[4, 2, 10, 10]])

    def write(self) -> Path:
        """Write the annotation files."""
        (self.root / "images").mkdir(parents=True, exist_ok=True)
        captions = {"images": self.images, "annotations": self.captions}
        instances = {
            "images": self.images, "annotations": self.instances, "categories": [{"id": 1, "name": "red circle"}],
        }
        (self.root / "captions.json").write_text(json.dumps(captions), encoding="utf-8")
        (self.root / "instances.json").write_text(json.dumps(instances), encoding="utf-8")
        return self.root


@dataclass(frozen=True)
class Result:
    """An ImageSet's folder, read back."""

    folder: Path
    built: Built
    images: list[AnnotatedImage]
    quarantine: list[dict[str, str]]

    def reasons(self) -> dict[str, str]:
        """Reason by id of what was left out."""
        return {row["id"]: row["reason"] for row in self.quarantine}


def ingest(
    folder: Path, root: Path | str | None, *sources: FileSource, limits: ImageLimits = TOLERANT,
    near: NearDuplicates | None = None, test_sets: Sequence[TestSet] = (), cache: Path | None = None,
    progress: Progress | None = None, endpoint: str | None = None, withdrawn: Set[str] = frozenset(),
) -> Result:
    """Build an ImageSet of sources under one root, and read it back."""
    folder.mkdir(parents=True)
    first, *also = sources or (COCO,)
    config = DataConfig(source=first, also=tuple(also), limits=limits, near_duplicates=near)
    place = None if root is None else Place(str(root), endpoint)
    places = [place] * len(config.sources)
    return result_of(folder, build_image_set(folder, config, places, progress or Silent(), test_sets, cache, withdrawn))


def result_of(folder: Path, built: Built) -> Result:
    """Read an ImageSet's folder."""
    images = [AnnotatedImage.model_validate_json(line) for line in _lines(folder / "annotations.jsonl")]
    return Result(folder, built, images, [json.loads(line) for line in _lines(folder / "quarantine.jsonl")])


def write_jsonl(root: Path, rows: Iterable[Mapping[str, Any] | str], images: Mapping[str, bytes]) -> Path:
    """A JSONL source; a row that is a text is written as it stands."""
    (root / "images").mkdir(parents=True)
    for name, data in images.items():
        (root / "images" / name).write_bytes(data)
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    (root / "annotations.jsonl").write_text(text + "\n", encoding="utf-8")
    return root


def dies(*_: object) -> None:
    """Stands in for a decoder that the kernel kills."""
    os._exit(9)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
