"""One JSON object a line (image, captions, boxes) as raw images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from configs.schema import JsonlSource
from tasks.errors import DataError
from tasks.ingest.documents import corners_of, read_text
from tasks.ingest.records import Quarantined, RawBox, RawImage, clean_captions, id_of


def read_jsonl(source: JsonlSource, root: Path) -> Iterator[RawImage | Quarantined]:
    """The records of the file in order, the first `limit` of them; broken lines go to quarantine by their number.

    Raises DataError if the file or the folder of the images is missing.
    """
    path, folder = root / source.annotations, root / source.images
    lines = read_text(path).split("\n")
    if not folder.is_dir():
        raise DataError(f"there is no folder of images {folder}: name it by data.source.images in the experiment")
    filled = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for number, line in filled[: source.limit]:
        yield _record(line, f"{path.name}: line {number}", folder)


def _record(line: str, where: str, folder: Path) -> RawImage | Quarantined:
    try:
        row: JsonValue = json.loads(line)
    except json.JSONDecodeError as error:
        return Quarantined(where, "malformed entry", f"not JSON: {error.msg} at column {error.colno}")
    if not isinstance(row, dict) or not isinstance(name := row.get("image"), str) or not name:
        return Quarantined(where, "malformed entry", "no object with a text 'image'")
    captions, boxes = row.get("captions", []), row.get("boxes", [])
    if not isinstance(captions, list) or not isinstance(boxes, list):
        return Quarantined(where, "malformed entry", "'captions' and 'boxes' have to be lists")
    texts = [caption for caption in captions if isinstance(caption, str)]
    found = [box for row_box in boxes if (box := _box(row_box))]
    if len(texts) < len(captions) or len(found) < len(boxes):
        return Quarantined(where, "malformed entry", "captions are texts, boxes are {category, box: [4 numbers]}")
    return RawImage(id_of(name), folder, name, clean_captions(texts), tuple(found))


def _box(value: JsonValue) -> RawBox | None:
    if not isinstance(value, dict):
        return None
    category, corners = value.get("category"), corners_of(value.get("box"))
    return RawBox(category, corners) if isinstance(category, str) and corners else None
