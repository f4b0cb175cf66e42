"""The ingest stage as a plain function: a source of annotated images in, the files of an ImageSet out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from configs.schema import CocoSource, DataConfig, ImageLimits, ShapesSource
from model.records import AnnotatedImage
from tasks.errors import DataError
from tasks.ingest.boxes import BadBox, normalised
from tasks.ingest.coco import read_coco
from tasks.ingest.images import Decoded, Job, decode_all
from tasks.ingest.jsonl_reader import read_jsonl
from tasks.ingest.parts import PartWriter
from tasks.ingest.quarantine import check_share, reasons_of
from tasks.ingest.records import Quarantined, RawImage, is_inside
from tasks.progress import Progress
from tasks.stages import Built
from tasks.world.pope import write_pope
from tasks.world.scene import HELD_OUT
from tasks.world.testsets import write_coco, write_llava_bench, write_scienceqa

ASPECT_SLACK = 0.02
"""An image may have been resized since it was annotated, but not cut or turned: its aspect has to agree this well."""
RENDERED = ".rendered"
DECODED = ".decoded"
RENDERED_COCO = CocoSource(
    kind="coco", root=".", captions="annotations/captions.json", instances="annotations/instances.json", images="images"
)


def build_image_set(folder: Path, config: DataConfig, root: Path | None, progress: Progress) -> Built:
    """Write an ImageSet's files into `folder`: images, annotations.jsonl, quarantine.jsonl, benchmarks (shapes).

    `root` is the resolved folder of the source, None for shapes. Raises DataError if the source cannot be read at
    all and TooMuchBadInput if more of its records are bad than `config.limits` allows.
    """
    source = config.source
    if isinstance(source, ShapesSource):
        return _build_shapes(folder, source, config.limits, progress)
    if root is None or not root.is_dir():
        raise DataError(
            f"there is no data folder {root or source.root}: "
            "give it by --set data.root=FOLDER or by the environment variable LLAVAFLOW_DATA_ROOT"
        )
    read = read_coco(source, root) if isinstance(source, CocoSource) else read_jsonl(source, root)
    return _write_image_set(folder, read, config.limits, {"source": source.kind}, progress)


def _build_shapes(folder: Path, source: ShapesSource, limits: ImageLimits, progress: Progress) -> Built:
    rendered = folder / RENDERED
    try:
        progress.note(f"rendering {source.train_scenes} scenes")
        write_coco(rendered, source.seed, "train", source.train_scenes, progress=progress)
        facts: dict[str, JsonValue] = {
            "source": source.kind, "seed": source.seed, "held_out": [" ".join(pair) for pair in HELD_OUT],
        }
        built = _write_image_set(folder, read_coco(RENDERED_COCO, rendered), limits, facts, progress)
    finally:
        shutil.rmtree(rendered, ignore_errors=True)
    progress.note(f"writing test sets: {source.scienceqa_test} questions, {source.bench_images} images")
    benchmarks = folder / "benchmarks"
    write_scienceqa(
        benchmarks / "scienceqa", source.seed, source.scienceqa_train, source.scienceqa_test, progress=progress
    )
    write_llava_bench(benchmarks / "llava_bench", source.seed, source.bench_images)
    if source.pope_images:
        write_pope(benchmarks / "pope", source.seed, source.pope_images)
    added = {"scienceqa_train": source.scienceqa_train, "scienceqa_test": source.scienceqa_test}
    return Built(built.counts | added | {"bench_images": source.bench_images}, built.facts)


def _write_image_set(
    folder: Path, read: Iterable[RawImage | Quarantined], limits: ImageLimits, facts: dict[str, JsonValue],
    progress: Progress,
) -> Built:
    """The pipeline that every source goes through: check, decode, measure, remove duplicates, write."""
    usable, quarantined = _checked(read)
    decoded = folder / DECODED
    decoded.mkdir(parents=True)
    jobs = [Job(raw.id, raw.folder / raw.name, decoded / raw.id) for raw in usable]
    kept: list[AnnotatedImage] = []
    first_of: dict[str, str] = {}
    with PartWriter(folder) as parts:
        for done, (raw, outcome) in enumerate(zip(usable, decode_all(jobs, limits), strict=True), 1):
            record = _annotated(raw, outcome, first_of, parts)
            if isinstance(record, AnnotatedImage):
                kept.append(record)
                first_of[record.sha256] = record.id
            else:
                quarantined.append(record)
            if isinstance(outcome, Decoded):
                outcome.file.unlink()
            progress.update(done, len(jobs), quarantined=len(quarantined))
    decoded.rmdir()
    check_share(len(kept), quarantined, limits.max_bad_share)
    _write_lines(folder / "annotations.jsonl", (record.model_dump(mode="json") for record in kept))
    _write_lines(folder / "quarantine.jsonl", (asdict(record) for record in sorted(quarantined, key=_by_id)))
    counts = {
        "images": len(kept),
        "captions": sum(len(record.captions) for record in kept),
        "boxes": sum(len(record.boxes) for record in kept),
        "quarantined": len(quarantined),
    }
    reasons: dict[str, JsonValue] = {reason: number for reason, number in reasons_of(quarantined).items()}
    return Built(counts, facts | {"quarantine": reasons})


def _checked(read: Iterable[RawImage | Quarantined]) -> tuple[list[RawImage], list[Quarantined]]:
    """What can be told without opening an image; what passes is sorted by id, and ids are unique."""
    usable: dict[str, RawImage] = {}
    quarantined: list[Quarantined] = []
    for raw in read:
        if isinstance(raw, Quarantined):
            quarantined.append(raw)
        elif not is_inside(raw.name):
            quarantined.append(Quarantined(raw.id, "file name outside the data folder", raw.name))
        elif not raw.captions:
            quarantined.append(Quarantined(raw.id, "no captions", raw.name))
        elif raw.id in usable:
            quarantined.append(Quarantined(raw.id, "id already taken", f"{raw.name} after {usable[raw.id].name}"))
        else:
            usable[raw.id] = raw
    return [usable[image_id] for image_id in sorted(usable)], quarantined


def _annotated(
    raw: RawImage, outcome: Decoded | Quarantined, first_of: dict[str, str], parts: PartWriter
) -> AnnotatedImage | Quarantined:
    """The finished record of a decoded image, or why there is none."""
    if isinstance(outcome, Quarantined):
        return outcome
    if outcome.sha256 in first_of:
        return Quarantined(raw.id, "duplicate", f"same bytes as {first_of[outcome.sha256]}")
    size = (outcome.width, outcome.height)
    if raw.size and not _same_aspect(raw.size, size):
        detail = f"annotated as {raw.size[0]:g} x {raw.size[1]:g}, is {size[0]} x {size[1]}"
        return Quarantined(raw.id, "size differs from its annotation", detail)
    try:
        boxes = normalised(raw.boxes, raw.size or (1.0, 1.0), size)
    except BadBox as error:
        return Quarantined(raw.id, error.reason, error.detail)
    kind = outcome.file.suffix.removeprefix(".")
    part, span = parts.add(f"{raw.id}.{kind}", outcome.file.read_bytes())
    return AnnotatedImage(
        id=raw.id, part=part, span=span, format="jpg" if kind == "jpg" else "png", width=size[0], height=size[1],
        sha256=outcome.sha256, captions=raw.captions, boxes=boxes,
    )


def _same_aspect(annotated: tuple[float, float], found: tuple[int, int]) -> bool:
    ratio = (annotated[0] / annotated[1]) / (found[0] / found[1])
    return abs(ratio - 1) <= max(ASPECT_SLACK, 1.5 / min(found))


def _by_id(record: Quarantined) -> tuple[str, str, str]:
    return (record.id, record.reason, record.detail)


def _write_lines(path: Path, rows: Iterable[dict[str, JsonValue]]) -> None:
    with path.open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
