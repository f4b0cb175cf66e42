"""Whether a model was trained on images that it was examined on: compared by the sha256 of the files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tasks.shards import index_file
from tasks.storage import file_entry

STAGES = ("align", "instruct")
IMAGES = "images"


def overlap(shards: Path, evaluation: Path, mixed: Sequence[Path] = ()) -> int | None:
    """How many different images of an evaluation are among the training samples of a ShardSet, or of those that a stage
    mixed with it.

    All are folders of the artifacts. None where the evaluation kept no images, so that nobody can tell.
    """
    asked = {file_entry(path).sha256 for path in sorted((evaluation / IMAGES).rglob("*")) if path.is_file()}
    if not asked:
        return None
    trained = set().union(*(_trained(index_file(one, stage)) for one in (shards, *mixed) for stage in STAGES))
    return len(asked & trained)


def _trained(index: Path) -> set[str]:
    """sha256 of every image in a stage's samples. The lines are many: only what is needed of them is read."""
    if not index.is_file():
        return set()
    with index.open(encoding="utf-8") as lines:
        entries = (json.loads(line) for line in lines)
        images = (image for entry in entries for image in (entry["image"], *entry.get("more", ())))
        return {image[2] for image in images if image is not None}
