"""COCO captions and instances, official layout, as raw images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import JsonValue

from configs.schema import CocoSource
from tasks.errors import DataError
from tasks.ingest.documents import corners_of, read_json, rows_of
from tasks.ingest.records import Quarantined, RawBox, RawImage, clean_captions, id_of


@dataclass
class _Entry:
    """An image of the lists `images`, and what the annotations say of it."""

    file_name: str
    size: tuple[float, float]
    captions: list[str] = field(default_factory=list)
    boxes: list[RawBox] = field(default_factory=list)


class _Coco:
    """Collects both files by image id."""

    def __init__(self) -> None:
        self.entries: dict[int, _Entry] = {}
        self.orphans: dict[int, Counter[str]] = {}
        self.malformed: list[Quarantined] = []

    def images(self, rows: list[JsonValue], path: Path) -> None:
        """Take up a list `images`; an id that is there already keeps its first entry."""
        for place, row in enumerate(rows):
            entry = _image_entry(row)
            if entry is None:
                self._malformed(f"{path.name}: images[{place}]", "it needs id, file_name, width and height")
            else:
                self.entries.setdefault(*entry)

    def captions(self, rows: list[JsonValue], path: Path) -> None:
        """Take up the annotations of the captions file."""
        for place, row in enumerate(rows):
            image_id = _image_id(row)
            caption = row.get("caption") if isinstance(row, dict) else None
            if image_id is None or not isinstance(caption, str):
                self._malformed(f"{path.name}: annotations[{place}]", "no integer image_id or no caption")
            elif entry := self._entry(image_id, "caption"):
                entry.captions.append(caption)

    def boxes(self, rows: list[JsonValue], categories: dict[int, str], path: Path) -> None:
        """Take up the annotations of the instances file, crowd rows left out."""
        for place, row in enumerate(rows):
            if isinstance(row, dict) and row.get("iscrowd"):
                continue
            image_id, box = _image_id(row), _box(row, categories)
            if image_id is None or box is None:
                self._malformed(f"{path.name}: annotations[{place}]", "no image_id, known category_id or bbox of four")
            elif entry := self._entry(image_id, "box"):
                entry.boxes.append(box)

    def _entry(self, image_id: int, kind: str) -> _Entry | None:
        entry = self.entries.get(image_id)
        if entry is None:
            self.orphans.setdefault(image_id, Counter())[kind] += 1
        return entry

    def _malformed(self, where: str, what: str) -> None:
        self.malformed.append(Quarantined(where, "malformed entry", what))


def read_coco(source: CocoSource, root: Path) -> Iterator[RawImage | Quarantined]:
    """The images of a COCO data set in the order of their ids, then what cannot be attached to any image.

    With a limit, the first so many; annotations of the others are passed over. Raises DataError if a file or the
    folder of the images is missing, or a file is not in COCO layout.
    """
    captions_path, instances_path, folder = root / source.captions, root / source.instances, root / source.images
    coco = _Coco()
    captions, instances = read_json(captions_path), read_json(instances_path)
    if not folder.is_dir():
        raise DataError(f"there is no folder of images {folder}: name it by data.source.images in the experiment")
    coco.images(rows_of(captions, "images", captions_path), captions_path)
    if "images" in instances:
        coco.images(rows_of(instances, "images", instances_path), instances_path)
    coco.captions(rows_of(captions, "annotations", captions_path), captions_path)
    categories = _categories(rows_of(instances, "categories", instances_path))
    coco.boxes(rows_of(instances, "annotations", instances_path), categories, instances_path)
    for image_id in sorted(coco.entries)[: source.limit]:
        entry = coco.entries[image_id]
        yield RawImage(
            id_of(entry.file_name), folder, entry.file_name, clean_captions(entry.captions), tuple(entry.boxes),
            entry.size,
        )
    yield from coco.malformed
    for image_id, kinds in sorted(coco.orphans.items()):
        counted = ", ".join(f"{number} {kind}(s)" for kind, number in sorted(kinds.items()))
        yield Quarantined(str(image_id), "annotation without its image", f"image id {image_id}: {counted}")


def _image_entry(row: JsonValue) -> tuple[int, _Entry] | None:
    if not isinstance(row, dict):
        return None
    image_id, name = row.get("id"), row.get("file_name")
    width, height = row.get("width"), row.get("height")
    if not isinstance(image_id, int) or not isinstance(name, str) or not name:
        return None
    if not isinstance(width, int | float) or not isinstance(height, int | float) or width <= 0 or height <= 0:
        return None
    return image_id, _Entry(name, (float(width), float(height)))


def _image_id(row: JsonValue) -> int | None:
    image_id = row.get("image_id") if isinstance(row, dict) else None
    return image_id if isinstance(image_id, int) else None


def _box(row: JsonValue, categories: dict[int, str]) -> RawBox | None:
    """COCO's [x, y, width, height] as corners."""
    if not isinstance(row, dict):
        return None
    category, measures = row.get("category_id"), corners_of(row.get("bbox"))
    if not isinstance(category, int) or category not in categories or measures is None:
        return None
    x, y, width, height = measures
    return RawBox(categories[category], (x, y, x + width, y + height))


def _categories(rows: list[JsonValue]) -> dict[int, str]:
    named: dict[int, str] = {}
    for row in rows:
        number, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
        if isinstance(number, int) and isinstance(name, str):
            named[number] = name
    return named
