"""One JSON object a line (image, captions, boxes) as raw images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pydantic import JsonValue

from configs.schema import JsonlSource
from tasks.ingest.documents import BadLine, corners_of, lines
from tasks.ingest.places import Place
from tasks.ingest.records import Quarantined, RawBox, RawImage, id_of
from tasks.ingest.text import clean_captions, clean_line


def read_jsonl(source: JsonlSource, place: Place) -> Iterator[RawImage | Quarantined]:
    """The records of the file in order, the first `limit` of them; broken lines go to quarantine by their number.

    Raises DataError if the file is missing or empty.
    """
    file = source.annotations.rpartition("/")[2]
    for number, row in islice(lines(place, source.annotations), source.limit):
        where = f"{file}: line {number}"
        yield Quarantined(where, "malformed entry", str(row)) if isinstance(row, BadLine) else _record(row, where)


def _record(row: JsonValue, where: str) -> RawImage | Quarantined:
    if not isinstance(row, dict) or not isinstance(name := row.get("image"), str) or not name:
        return Quarantined(where, "malformed entry", "no object with a text 'image'")
    captions, boxes = row.get("captions", []), row.get("boxes", [])
    if not isinstance(captions, list) or not isinstance(boxes, list):
        return Quarantined(where, "malformed entry", "'captions' and 'boxes' have to be lists")
    texts = [caption for caption in captions if isinstance(caption, str)]
    found = [box for row_box in boxes if (box := box_of(row_box, "box"))]
    if len(texts) < len(captions) or len(found) < len(boxes):
        return Quarantined(where, "malformed entry", "captions are texts, boxes are {category, box: [4 numbers]}")
    return RawImage(id_of(name), name, clean_captions(texts), tuple(found))


def box_of(value: JsonValue, key: str) -> RawBox | None:
    """A box {category, <key>: [x1, y1, x2, y2]}, or None."""
    if not isinstance(value, dict):
        return None
    category, corners = value.get("category"), corners_of(value.get(key))
    return RawBox(clean_line(category), corners) if isinstance(category, str) and corners else None
