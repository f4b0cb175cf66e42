"""What a source's data look like from outside: a part of the stage's cache key, since the config names only a place."""

from __future__ import annotations

import hashlib
import json

from configs.schema import CocoSource, FileSource, JsonlSource, LlavaBenchSource, LlavaJsonSource
from tasks.ingest.places import Listed, Place

CHUNK = 1 << 20


def fingerprint(source: FileSource, place: Place) -> str:
    """A digest that changes when annotations or images do.

    Annotation files count by content (in a bucket by ETag), images by name, size and time of change: reading them all
    would cost as much as the stage itself. What is missing counts as such; the stage then says what is wrong.
    """
    digest = hashlib.sha256()
    for name in annotation_files(source):
        _update(digest, "annotations", name, _content(place, name))
    images = place.tars(source.images)
    for found in (place.stat(tar) for tar in images) if images else place.files(source.images):
        if isinstance(found, Listed):
            _update(digest, "image", found.name, str(found.size), found.stamp)
    return digest.hexdigest()


def annotation_files(source: FileSource) -> tuple[str, ...]:
    """The files beside the images that a source is read from."""
    match source:
        case CocoSource():
            return (source.captions, source.instances)
        case JsonlSource():
            return (source.annotations,)
        case LlavaJsonSource():
            return (source.file,)
        case LlavaBenchSource():
            return (source.context,)
        case _:
            return (source.problems, source.splits)


def _update(digest: hashlib._Hash, *parts: str) -> None:
    digest.update(json.dumps(parts).encode() + b"\n")


def _content(place: Place, name: str) -> str:
    found = place.stat(name)
    if found is None or place.remote:
        return "none" if found is None else f"{found.size} {found.stamp}"
    digest = hashlib.sha256()
    with place.open(name) as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
