"""Build a ShardSet: align samples out of captions, instruct samples out of conversations and questions."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from pydantic import JsonValue, ValidationError

from configs.schema import ShardConfig
from model.records import AnnotatedImage, Sample
from tasks.artifacts import FileEntry
from tasks.errors import DataError
from tasks.image_files import read_annotations, withdrawn_from
from tasks.progress import Progress
from tasks.shard.partition import Limits, leaves
from tasks.shard.samples import CaptionSamples, read_samples
from tasks.shard.scienceqa import Illustrated, listed_questions, training_split
from tasks.shard.table import Group, SampleTable, StoredImage
from tasks.shard.tars import END
from tasks.shard.write import Done, Reusable, Shard, Sources, write_shards, writers_for
from tasks.shards import SHARD_TABLE, STAGES, ShardEntry, held_out, index_file
from tasks.sinks import FolderSink, Sink
from tasks.stages import Built

GATHERED = ".gathered"
"""Folder of what is needed only while the shards are written."""
TOLD_EVERY = 1000


def build_shards(
    folder: Path, images: Path, conversations: Path, config: ShardConfig, seed: int, progress: Progress,
    sink: Sink | None = None, earlier: Mapping[str, Reusable] | None = None,
) -> Built:
    """Write the shards and indices of both stages, as `tasks.artifacts.ShardSet` describes them.

    `images` is the local folder of an ImageSet, `conversations` that of a ConversationSet. The seed draws captions
    where an image has more than are wanted. Files go into `folder`, or into `sink` where there is one. What is in
    `earlier` (see `reusable`) is not written again. Identical input gives identical bytes, whatever the number of
    writers, the sink, and what there was earlier.

    Raises DataError for a sample whose image is missing, an id that is used twice, a damaged ScienceQA-layout set, and
    a stage without samples.
    """
    sink = sink or FolderSink(folder)
    gathered = folder / GATHERED
    with closing(SampleTable(gathered, config.held_out)) as table:
        _gather(table, images, conversations, config, seed, progress)
        if not table.sort():
            progress.note("nothing is held out: the set is so small that a stage would have no sample to train on")
        built = _write(table, Sources(gathered, images, sink, earlier or {}), config, progress)
    shutil.rmtree(gathered)
    return built


def reusable(uri: str, table: bytes) -> dict[str, Reusable]:
    """The shards of an earlier ShardSet by content; `table` is its shards.jsonl. None if that is of another form."""
    try:
        entries = [ShardEntry.model_validate_json(line) for line in table.splitlines()]
    except ValidationError:
        return {}
    return {entry.content: Reusable(f"{uri}/{entry.shard}", entry) for entry in entries}


def _gather(
    table: SampleTable, images: Path, conversations: Path, config: ShardConfig, seed: int, progress: Progress
) -> None:
    captions = CaptionSamples(config.captions_per_image, seed)
    for image in read_annotations(images):
        table.add_image(_stored(image))
        for sample in captions.of(image):
            _add(table, "align", sample, progress)
    for stage in STAGES:
        given = images / "given" / f"{stage}.jsonl"
        for sample in read_samples(given) if given.exists() else ():
            _add(table, stage, sample, progress)
    for sample in read_samples(conversations / "conversations.jsonl"):
        _add(table, "instruct", sample, progress)
    if config.scienceqa_train:
        for sample in listed_questions(images, config.scienceqa_format):
            _add(table, "instruct", sample, progress)
        for sample, picture in _not_withdrawn(images, config, progress):
            if picture is not None:
                table.add_image(picture)
            _add(table, "instruct", sample, progress)


def _not_withdrawn(images: Path, config: ShardConfig, progress: Progress) -> Iterator[Illustrated]:
    """The training split that came with the images, which no stage before has looked at."""
    withdrawn = withdrawn_from(images)
    for sample, picture in training_split(images, config.scienceqa_format):
        if picture is not None and picture.sha256.hex() in withdrawn:
            progress.note(f"{sample.id} is left out: its image was withdrawn")
        else:
            yield Illustrated(sample, picture)


def _stored(image: AnnotatedImage) -> StoredImage:
    start, size = image.span
    return StoredImage(image.id, image.part, start, size, image.format, bytes.fromhex(image.sha256))


def _add(table: SampleTable, stage: str, sample: Sample, progress: Progress) -> None:
    table.add_sample(stage, sample)
    if table.samples % TOLD_EVERY == 0:
        progress.update(0, 0, gathered=table.samples)


def _write(table: SampleTable, sources: Sources, config: ShardConfig, progress: Progress) -> Built:
    """Write the shards of all groups, then their indices."""
    limits = Limits(config.max_samples, config.max_bytes)
    groups = list(table.groups())
    for stage in STAGES:
        if not any(group.stage == stage and not group.held_out for group in groups):
            raise DataError(f"there is no sample for stage {stage}; see the counts of the stages before `shard`")
    shards = {_name(group): _shards_of(group, limits) for group in groups}
    every = [shard for some in shards.values() for shard in some]
    writers = writers_for(config.writers, len(every), sum(int(group.sizes.sum()) for group in groups))
    done = _written(sources, every, writers, table.samples, progress)
    found = {name: [next(done) for _ in some] for name, some in shards.items()}
    files = {one.entry.shard: one.entry.file for one in _flat(found)} | _indices(sources.sink, found)
    counts = _counts(found)
    if counts["shards_reused"]:
        progress.note(f"{counts['shards_reused']} of {len(every)} shards were taken over from earlier shard sets")
    kinds: JsonValue = {stage: {**table.kinds(stage)} for stage in STAGES}
    return Built(counts=counts, facts={"kinds": kinds}, files=files)


def _name(group: Group) -> str:
    return held_out(group.stage) if group.held_out else group.stage


def _shards_of(group: Group, limits: Limits) -> list[Shard]:
    folder = f"held_out/{group.stage}" if group.held_out else group.stage
    room = Limits(limits.max_samples, limits.max_bytes - END)
    return [
        Shard(f"{folder}/shard-{leaf.prefix or 'all'}.tar", group.first + leaf.start, group.first + leaf.stop - 1)
        for leaf in leaves(group.places, group.sizes, room)
    ]


def _written(
    sources: Sources, shards: Sequence[Shard], writers: int, total: int, progress: Progress
) -> Iterator[Done]:
    samples = 0
    for done in write_shards(sources, shards, writers):
        samples += done.entry.samples
        progress.update(samples, total, stage=done.entry.shard.rsplit("/", 1)[0])
        yield done


def _indices(sink: Sink, found: Mapping[str, Sequence[Done]]) -> dict[str, FileEntry]:
    """The index of each stage, put together from those of its shards, and the table of all shards."""
    files = {}
    for name in (*STAGES, *map(held_out, STAGES)):
        path = index_file(Path(), name).as_posix()
        with sink.create(path) as index:
            for one in found.get(name, ()):
                index.write(one.index.read_bytes())
        files[path] = index.entry
    with sink.create(SHARD_TABLE) as shard_table:
        for one in _flat(found):
            shard_table.write(f"{one.entry.line()}\n".encode())
    return {**files, SHARD_TABLE: shard_table.entry}


def _flat(found: Mapping[str, Sequence[Done]]) -> Iterable[Done]:
    return (one for some in found.values() for one in some)


def _counts(found: Mapping[str, Sequence[Done]]) -> dict[str, int]:
    counts = Counter(shards_reused=0, shards_written=0)
    for name in (*STAGES, *map(held_out, STAGES)):
        some = found.get(name, ())
        counts[f"{name}_samples"] = sum(one.entry.samples for one in some)
        counts[f"{name}_shards"] = len(some)
        counts[f"{name}_bytes"] = sum(one.entry.size for one in some)
        counts[f"{name}_without_image"] = sum(one.without_image for one in some)
    for one in _flat(found):
        counts["shards_reused" if one.reused else "shards_written"] += 1
    return dict(counts)
