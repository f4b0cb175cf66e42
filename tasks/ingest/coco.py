"""COCO captions and instances, official layout, as raw images.

Annotations lie in any order, apart from the images they belong to: they are grouped on disk.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from pydantic import JsonValue

from configs.schema import CocoSource
from tasks.ingest.documents import corners_of, list_items
from tasks.ingest.places import Place
from tasks.ingest.records import Corners, Quarantined, RawBox, RawImage, id_of
from tasks.ingest.staging import Staging
from tasks.ingest.text import clean_captions, clean_line

SCHEMA = (
    "DROP TABLE IF EXISTS coco_image",
    "DROP TABLE IF EXISTS coco_note",
    "CREATE TABLE coco_image (id INTEGER PRIMARY KEY, name TEXT, width REAL, height REAL)",
    """CREATE TABLE coco_note (image INTEGER, kind TEXT, number INTEGER, note TEXT, PRIMARY KEY (image, kind, number))
    WITHOUT ROWID""",
)
ORPHANS = """SELECT image, kind, count(*) FROM coco_note LEFT JOIN coco_image ON coco_image.id = image
WHERE coco_image.id IS NULL GROUP BY image, kind ORDER BY image, kind"""
LARGEST = 1 << 62


def read_coco(source: CocoSource, place: Place, staging: Staging) -> Iterator[RawImage | Quarantined]:
    """The images of a COCO data set in the order of their ids, then what cannot be attached to any image.

    With a limit, the first so many; annotations of the others are passed over. Raises DataError if a file is missing
    or not in COCO layout.
    """
    for statement in SCHEMA:
        staging.create(statement)
    yield from _images(place, source.captions, staging, required=True)
    yield from _images(place, source.instances, staging, required=False)
    yield from _captions(place, source.captions, staging)
    yield from _boxes(place, source.instances, staging)
    limit = -1 if source.limit is None else source.limit
    for image_id, name, width, height in staging.rows("SELECT * FROM coco_image ORDER BY id LIMIT ?", limit):
        captions = [str(json.loads(note)) for note in _notes(staging, image_id, "caption")]
        boxes = [json.loads(note) for note in _notes(staging, image_id, "box")]
        found = tuple(RawBox(row[0], (row[1], row[2], row[3], row[4])) for row in boxes)
        yield RawImage(id_of(name), name, clean_captions(captions), found, (width, height))
    yield from _orphans(staging)


def _images(place: Place, file: str, staging: Staging, *, required: bool) -> Iterator[Quarantined]:
    """Take up a list `images`; an id that is there already keeps its first entry."""
    for number, row in enumerate(list_items(place, file, "images", required=required)):
        entry = _image_entry(row)
        if entry is None:
            yield _malformed(file, "images", number, "it needs id, file_name, width and height")
        else:
            staging.put("INSERT OR IGNORE INTO coco_image VALUES (?, ?, ?, ?)", *entry)


def _captions(place: Place, file: str, staging: Staging) -> Iterator[Quarantined]:
    for number, row in enumerate(list_items(place, file, "annotations")):
        image_id = _image_id(row)
        caption = row.get("caption") if isinstance(row, dict) else None
        if image_id is None or not isinstance(caption, str):
            yield _malformed(file, "annotations", number, "no integer image_id or no caption")
        else:
            staging.put("INSERT INTO coco_note VALUES (?, 'caption', ?, ?)", image_id, number, json.dumps(caption))


def _boxes(place: Place, file: str, staging: Staging) -> Iterator[Quarantined]:
    """Take up the annotations of the instances file, crowd rows left out."""
    categories = _categories(place, file)
    for number, row in enumerate(list_items(place, file, "annotations")):
        if isinstance(row, dict) and row.get("iscrowd"):
            continue
        image_id, box = _image_id(row), _box(row, categories)
        if image_id is None or box is None:
            yield _malformed(file, "annotations", number, "no image_id, known category_id or bbox of four")
        else:
            note = json.dumps([box[0], *box[1]])
            staging.put("INSERT INTO coco_note VALUES (?, 'box', ?, ?)", image_id, number, note)


def _notes(staging: Staging, image_id: int, kind: str) -> list[str]:
    query = "SELECT note FROM coco_note WHERE image = ? AND kind = ? ORDER BY number"
    return [row[0] for row in staging.rows(query, image_id, kind)]


def _orphans(staging: Staging) -> Iterator[Quarantined]:
    for image_id, rows in groupby(staging.rows(ORPHANS), key=itemgetter(0)):
        kinds = Counter({kind: number for _, kind, number in rows})
        counted = ", ".join(f"{number} {kind}(s)" for kind, number in sorted(kinds.items()))
        yield Quarantined(str(image_id), "annotation without its image", f"image id {image_id}: {counted}")


def _malformed(file: str, of: str, number: int, what: str) -> Quarantined:
    return Quarantined(f"{file.rpartition('/')[2]}: {of}[{number}]", "malformed entry", what)


def _image_entry(row: JsonValue) -> tuple[int, str, float, float] | None:
    if not isinstance(row, dict):
        return None
    image_id, name = _integer(row.get("id")), row.get("file_name")
    width, height = row.get("width"), row.get("height")
    if image_id is None or not isinstance(name, str) or not name or not name.isprintable():
        return None
    if not isinstance(width, int | float) or not isinstance(height, int | float) or width <= 0 or height <= 0:
        return None
    return image_id, name, float(width), float(height)


def _image_id(row: JsonValue) -> int | None:
    return _integer(row.get("image_id")) if isinstance(row, dict) else None


def _integer(value: JsonValue) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST else None


def _box(row: JsonValue, categories: dict[int, str]) -> tuple[str, Corners] | None:
    """COCO's [x, y, width, height] as corners."""
    if not isinstance(row, dict):
        return None
    category, measures = row.get("category_id"), corners_of(row.get("bbox"))
    if not isinstance(category, int) or category not in categories or measures is None:
        return None
    x, y, width, height = measures
    return categories[category], (x, y, x + width, y + height)


def _categories(place: Place, file: str) -> dict[int, str]:
    named: dict[int, str] = {}
    for row in list_items(place, file, "categories"):
        number, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
        if isinstance(number, int) and isinstance(name, str):
            named[number] = clean_line(name)
    return named
