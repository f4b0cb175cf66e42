"""The ingest stage as a plain function: sources of images, samples and questions in, the files of an ImageSet out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

from pydantic import JsonValue

from configs.schema import (
    CocoSource,
    DataConfig,
    FileSource,
    LlavaBenchConfig,
    ScienceQAConfig,
    ScriptedEndpoint,
    ShapesSource,
)
from tasks.errors import DataError
from tasks.image_files import WITHDRAWN
from tasks.ingest.decoding import decode_all
from tasks.ingest.files import Found, ImageFiles
from tasks.ingest.images import Decoded, Job
from tasks.ingest.intake import Intake
from tasks.ingest.known import Known
from tasks.ingest.places import Place
from tasks.ingest.quarantine import Quarantine
from tasks.ingest.records import Quarantined
from tasks.ingest.selection import Selection
from tasks.ingest.staging import Candidate, Staging
from tasks.ingest.testsets import LLAVA_BENCH, SCIENCEQA, TestImages, TestSet
from tasks.ingest.writer import SetWriter
from tasks.progress import Progress
from tasks.stages import Built
from tasks.world.pope import write_pope
from tasks.world.scene import HELD_OUT
from tasks.world.testsets import write_coco, write_llava_bench, write_scienceqa

RENDERED, STAGED = ".rendered", ".staging.db"
RENDERED_COCO = CocoSource(
    kind="coco", root=".", captions="annotations/captions.json", instances="annotations/instances.json", images="images"
)
Placed = Sequence[tuple[FileSource, Place]]
"""Sources, and where each lies."""
Tag = tuple[Candidate, Found | None]


def build_image_set(
    folder: Path, config: DataConfig, places: Sequence[Place | None], progress: Progress,
    test_sets: Sequence[TestSet] = (), cache: Path | None = None, withdrawn: Set[str] = frozenset(),
) -> Built:
    """Write an ImageSet's files into `folder`, as `tasks.artifacts.ImageSet` describes them.

    `places` are the roots of `config.sources`, None for shapes. No image of the `test_sets`, nor of the test sets that
    shapes bring, gets into the set. `cache` is a file that remembers what decoding told, for later builds; the set is
    the same without it. Nor does an image of `withdrawn` (sha256 of files).

    Raises DataError if a source cannot be read at all, and TooMuchBadInput if more of the records are bad than
    `config.limits` allows.
    """
    facts: dict[str, JsonValue] = {"source": config.source.kind}
    if config.also:
        facts["also"] = [source.kind for source in config.also]
    own: dict[str, int] = {}
    placed: list[tuple[FileSource, Place]] = []
    try:
        for source, place in zip(config.sources, places, strict=True):
            if isinstance(source, ShapesSource):
                own = _render(folder, source, progress)
                test_sets = (*test_sets, *_shapes_test_sets(folder))
                facts |= {"seed": source.seed, "held_out": [" ".join(pair) for pair in HELD_OUT]}
                placed.append((RENDERED_COCO, Place(str(folder / RENDERED))))
            else:
                placed.append((source, _there(source, place)))
        built = _build(folder, config, placed, test_sets, cache, progress, withdrawn)
    finally:
        shutil.rmtree(folder / RENDERED, ignore_errors=True)
    return Built(built.counts | own, facts | built.facts)


def _there(source: FileSource, place: Place | None) -> Place:
    if place is None or not place.exists():
        raise DataError(
            f"there is no data folder {place.uri if place else source.root}: "
            "give it by --set data.root=FOLDER or by the environment variable LLAVAFLOW_DATA_ROOT"
        )
    return place


def _render(folder: Path, source: ShapesSource, progress: Progress) -> dict[str, int]:
    """Write the images and test sets of the embedded world."""
    progress.note(f"rendering {source.train_scenes} scenes")
    write_coco(folder / RENDERED, source.seed, "train", source.train_scenes, progress=progress)
    progress.note(f"writing test sets: {source.scienceqa_test} questions, {source.bench_images} images")
    write_scienceqa(
        folder / "benchmarks" / SCIENCEQA, source.seed, source.scienceqa_train, source.scienceqa_test, progress=progress
    )
    write_llava_bench(folder / "benchmarks" / LLAVA_BENCH, source.seed, source.bench_images)
    if source.pope_images:
        write_pope(folder / "benchmarks" / "pope", source.seed, source.pope_images)
    return {
        "scienceqa_train": source.scienceqa_train, "scienceqa_test": source.scienceqa_test,
        "bench_images": source.bench_images,
    }


def _shapes_test_sets(folder: Path) -> tuple[TestSet, TestSet]:
    bench = LlavaBenchConfig(judge=ScriptedEndpoint(kind="scripted"))
    return (
        TestSet(SCIENCEQA, folder / "benchmarks" / SCIENCEQA, ScienceQAConfig()),
        TestSet(LLAVA_BENCH, folder / "benchmarks" / LLAVA_BENCH, bench),
    )


def _build(
    folder: Path, config: DataConfig, placed: Placed, test_sets: Sequence[TestSet], cache: Path | None,
    progress: Progress, withdrawn: Set[str],
) -> Built:
    """What every source goes through: take up, decode, measure, remove duplicates, write."""
    limits = config.limits
    if withdrawn:
        (folder / WITHDRAWN).write_text("".join(f"{sha256}\n" for sha256 in sorted(withdrawn)), encoding="ascii")
    bits = config.near_duplicates.bits if config.near_duplicates else None
    with ExitStack() as stack:
        staging = stack.enter_context(Staging(folder / STAGED))
        known = stack.enter_context(Known(cache, limits))
        quarantine = Quarantine(staging)
        tested = TestImages(staging, bits)
        for test_set in test_sets:
            tested.add(test_set, limits, known, progress)
        intake = Intake(staging, quarantine, limits, progress)
        files = {number: intake.take(number, source, place) for number, (source, place) in enumerate(placed)}
        with SetWriter(folder, staging) as writer:
            selection = Selection(staging, quarantine, writer, tested, bits, withdrawn)
            looked = _select(staging, files, known, config, selection, quarantine, progress)
        given = intake.given.write(folder, quarantine)
        kept = writer.counts["images"] + given["given_align"] + given["given_instruct"] + given["questions"]
        quarantine.check_share(kept, limits.max_bad_share)
        quarantine.write(folder / "quarantine.jsonl")
        always = {name: writer.counts[name] for name in ("images", "captioned", "captions", "boxes")}
        always |= {"quarantined": len(quarantine), **looked}
        others = (writer.counts, selection.counts, intake.counts, tested.counts, given)
        some = {name: number for counts in others for name, number in counts.items() if number}
        reasons: dict[str, JsonValue] = {reason: number for reason, number in quarantine.reasons().items()}
        return Built(some | always, {"quarantine": reasons})


def _select(
    staging: Staging, files: Mapping[int, ImageFiles], known: Known, config: DataConfig, selection: Selection,
    quarantine: Quarantine, progress: Progress,
) -> dict[str, int]:
    """Decode all images and hand them on. Returns how many were decoded, and of how many all was known."""
    total, counts = staging.count(), {"decoded": 0, "known": 0}
    jobs = _jobs(staging, files, known)
    for done, ((candidate, found), outcome) in enumerate(decode_all(jobs, total, config.limits), 1):
        if found is not None:
            fresh = outcome.fresh if isinstance(outcome, Decoded) else known.look_up(found) is None
            counts["decoded" if fresh else "known"] += 1
            if fresh:
                known.learn(found, outcome)
        selection.take(candidate, outcome)
        progress.update(done, total, quarantined=len(quarantine))
    return counts


def _jobs(
    staging: Staging, files: Mapping[int, ImageFiles], known: Known
) -> Iterator[tuple[Tag, Job | Quarantined]]:
    for candidate in staging.candidates():
        raw = candidate.raw
        found = files[candidate.source].find(raw.name)
        if found is None:
            short = raw.name.rpartition("/")[2]
            yield (candidate, None), Quarantined(raw.id, "image file missing", short)
        else:
            yield (candidate, found), Job(raw.id, raw.name, found.location, found.size, known.look_up(found))
