"""Accepted feedback as a version of a data set, in the layout that ingest reads (`kind: llava_json`).

    <root>/<version>/conversations.json   official LLaVA JSON, sorted by id
    <root>/<version>/images/              its images, named by their sha256
    <root>/<version>/origins.jsonl        which items each sample came of
    <root>/<version>/left_out.jsonl       which items made no sample, and why
    <root>/<version>/summary.json         counts

A version holds all that is accepted, not only what is new, and is named by a digest of it: equal feedback, equal bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from model.records import IMAGE_TOKEN
from tasks.errors import DataError
from tasks.feedback.choosing import Chosen, Learned, LeftOut, choose, digest
from tasks.feedback.store import FeedbackStore, Picture

CONVERSATIONS, ORIGINS, LEFT_OUT, SUMMARY = "conversations.json", "origins.jsonl", "left_out.jsonl", "summary.json"
FindPicture = Callable[[str], Picture | None]


@dataclass(frozen=True)
class Exported:
    """What an export made."""

    version: str
    folder: Path
    samples: int
    fresh: int
    """Items that no earlier version held."""
    left_out: dict[str, int]
    """Reason to number of items."""
    written: bool
    """Whether the version is new."""

    def json(self) -> dict[str, JsonValue]:
        """As plain values."""
        return {
            "version": self.version, "folder": str(self.folder), "samples": self.samples, "fresh": self.fresh,
            "left_out": dict(self.left_out), "written": self.written,
        }


def told(done: Exported) -> list[str]:
    """What an export made, for the terminal."""
    state = "written" if done.written else "there already"
    left = [f"  left out: {number:,} {reason}" for reason, number in done.left_out.items()]
    return [f"{done.folder}: {done.samples:,} samples, {state}; {done.fresh:,} items are new", *left]


def export(store: FeedbackStore, root: Path, at_least: int = 0) -> Exported | None:
    """Write a version if at least so many items are in none yet; None, with nothing written, if they are fewer.

    What was exported before is found again, as versions are named by their content.

    Raises DataError if an image is missing.
    """
    chosen = choose(store.items())
    known = {item for _, item, _ in store.exported()}
    fresh = sum(item not in known for item in chosen.by_item())
    if not chosen.samples or fresh < at_least:
        return None
    version = digest(chosen.samples)[:12]
    folder = root / version
    written = not (folder / SUMMARY).is_file()
    if written:
        _publish(folder, chosen, store.picture)
    store.note_export(version, chosen.by_item())
    reasons = Counter(left.reason for left in chosen.left_out)
    return Exported(version, folder, len(chosen.samples), fresh, dict(sorted(reasons.items())), written)


def remove_samples(root: Path, samples: Collection[str]) -> list[str]:
    """Take samples out of every version under a folder, with the images that then nothing shows. Returns the versions.

    A version keeps its name: experiments may name it.
    """
    changed = []
    for file in sorted(root.glob(f"*/{CONVERSATIONS}")):
        rows = json.loads(file.read_text(encoding="utf-8"))
        kept = [row for row in rows if row["id"] not in samples]
        if len(kept) == len(rows):
            continue
        folder = file.parent
        _replace(file, _json(kept))
        origins = (folder / ORIGINS).read_text(encoding="utf-8").splitlines()
        _replace(folder / ORIGINS, _lines(row for row in map(json.loads, origins) if row["id"] not in samples))
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        _replace(folder / SUMMARY, _json(summary | {"samples": len(kept)}))
        wanted = {row["image"] for row in kept if "image" in row}
        for image in (folder / "images").iterdir():
            if image.name not in wanted:
                image.unlink()
        changed.append(folder.name)
    return changed


def _publish(folder: Path, chosen: Chosen, picture: FindPicture) -> None:
    """Write a version under another name, and give it its own when it is whole."""
    half = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(half, ignore_errors=True)
    (half / "images").mkdir(parents=True)
    try:
        rows = [_row(sample, half / "images", picture) for sample in chosen.samples]
        (half / CONVERSATIONS).write_text(_json(rows), encoding="utf-8")
        (half / ORIGINS).write_text(_lines(map(_origin, chosen.samples)), encoding="utf-8")
        (half / LEFT_OUT).write_text(_lines(map(_left, chosen.left_out)), encoding="utf-8")
        reasons = Counter(left.reason for left in chosen.left_out)
        summary = {"samples": len(rows), "items": len(chosen.by_item()), "left_out": dict(sorted(reasons.items()))}
        (half / SUMMARY).write_text(_json(summary), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        half.rename(folder)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _row(sample: Learned, images: Path, picture: FindPicture) -> dict[str, object]:
    row: dict[str, object] = {"id": sample.id}
    mark = ""
    if sample.image is not None:
        found = picture(sample.image)
        if found is None:
            raise DataError(f"the image {sample.image} of {sample.id} is not in the database; restore it, or reject it")
        name = f"{found.sha256}.{found.suffix}"
        (images / name).write_bytes(found.data)
        row["image"], mark = name, f"{IMAGE_TOKEN}\n"
    said = []
    for place, (question, answer) in enumerate(sample.turns):
        said.append({"from": "human", "value": f"{'' if place else mark}{question}"})
        said.append({"from": "gpt", "value": answer})
    return row | {"conversations": said}


def _origin(sample: Learned) -> dict[str, object]:
    return {"id": sample.id, "items": list(sample.items), "sha256": sample.image}


def _left(left: LeftOut) -> dict[str, object]:
    return {"item": left.item, "reason": left.reason, "detail": left.detail}


def _json(value: object) -> str:
    return f"{json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True)}\n"


def _lines(rows: Iterable[dict[str, object]]) -> str:
    return "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True)}\n" for row in rows)


def _replace(path: Path, text: str) -> None:
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)
