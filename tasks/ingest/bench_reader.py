"""The images of a LLaVA-Bench-layout set, with the captions and boxes of its context file, as raw images."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pydantic import JsonValue

from configs.schema import LlavaBenchSource
from tasks.ingest.documents import BadLine, lines
from tasks.ingest.jsonl_reader import box_of
from tasks.ingest.places import Place
from tasks.ingest.records import Quarantined, RawImage, id_of
from tasks.ingest.text import clean_captions


def read_bench(source: LlavaBenchSource, place: Place) -> Iterator[RawImage | Quarantined]:
    """The images of the context file in order. (COCO) gives captions and boxes, (In-the-Wild) one description.

    Raises DataError if the file is missing or empty.
    """
    file = source.context.rpartition("/")[2]
    for number, row in islice(lines(place, source.context), source.limit):
        where = f"{file}: line {number}"
        yield Quarantined(where, "malformed entry", str(row)) if isinstance(row, BadLine) else _record(row, where)


def _record(row: JsonValue, where: str) -> RawImage | Quarantined:
    if not isinstance(row, dict) or not isinstance(name := row.get("image"), str) or not name:
        return Quarantined(where, "malformed entry", "no object with a text 'image'")
    said, instances = row.get("captions", row.get("caption")), row.get("instances", [])
    captions = [said] if isinstance(said, str) else said
    if not isinstance(captions, list) or not isinstance(instances, list):
        return Quarantined(where, "malformed entry", "no captions, or instances that are no list")
    boxes = [box for instance in instances if (box := box_of(instance, "bbox"))]
    if len(boxes) < len(instances):
        return Quarantined(where, "malformed entry", "instances are {category, bbox: [4 numbers]}")
    texts = [caption for caption in captions if isinstance(caption, str)]
    return RawImage(id_of(name), name, clean_captions(texts), tuple(boxes))
