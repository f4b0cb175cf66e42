"""What shards promise beyond being tars: images never straddle, growth changes little, nothing is written twice."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from configs.schema import ShardConfig
from model.records import Sample
from tasks.artifacts import FileEntry, ImageSet, MadeBy, ShardSet
from tasks.code import CodeState
from tasks.errors import ArtifactError, DataError, EnvironmentProblem
from tasks.progress import Progress, Silent
from tasks.shard.run import build_shards, reusable
from tasks.shard.write import Reusable
from tasks.shards import SHARD_TABLE, ShardReader, read_index
from tasks.sinks import FolderSink, Sink, SinkFile
from tasks.stages import Built, StageSpec, decide, execute
from tasks.storage import Store, file_table
from tests.fakes.image_sets import Made, write_image_set
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_bytes, image_set, turn_texts

STAGES = ("align", "instruct", "held_out_align", "held_out_instruct")
MADE_BY = MadeBy(stage="shard", code="c", config="d")


@dataclass
class Inputs:
    """Images of so many scenes, each with a caption and a conversation, and as many text-only conversations."""

    images: Path
    conversations: Path

    def build(
        self, folder: Path, earlier: dict[str, Reusable] | None = None, sink: Sink | None = None, **knobs: float
    ) -> Built:
        folder.mkdir()
        config = ShardConfig.model_validate({"max_samples": 10, "held_out": 0.2, "writers": 1, **knobs})
        return build_shards(folder, self.images, self.conversations, config, 0, Silent(), sink, earlier)


def inputs_of(folder: Path, scenes: int) -> Inputs:
    ids = [f"scene-{number:03d}" for number in range(scenes)]
    talks = [conversation(f"{name}-talk", name) for name in ids] + [conversation(f"{name}-text", None) for name in ids]
    return Inputs(image_set(folder / "images", ids), conversation_set(folder / "talks", talks))


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return inputs_of(tmp_path / "input", 60)


def earlier_of(folder: Path) -> dict[str, Reusable]:
    return reusable(str(folder), (folder / SHARD_TABLE).read_bytes())


def images_of(folder: Path, stage: str) -> set[str]:
    with ShardReader(folder, stage) as reader:
        return {image for number in range(len(reader)) if (image := reader.sample(number).image)}


# ------------------------------------------------------------------------------------------------ partition


def test_no_image_is_both_trained_on_and_held_out_in_whatever_stage(inputs: Inputs, tmp_path: Path) -> None:
    built = inputs.build(tmp_path / "out")
    trained = images_of(tmp_path / "out", "align") | images_of(tmp_path / "out", "instruct")
    held = images_of(tmp_path / "out", "held_out_align") | images_of(tmp_path / "out", "held_out_instruct")
    assert not trained & held
    assert len(trained | held) == 60
    assert 0 < len(held) < 30
    assert built.counts["held_out_align_samples"] == len(held)
    assert built.counts["align_samples"] + built.counts["held_out_align_samples"] == 60
    assert built.counts["instruct_samples"] + built.counts["held_out_instruct_samples"] == 120


def together(name: str, *images: str) -> Sample:
    asked = "<image>" * len(images) + " What is it?"
    told = {"id": name, "image": images[0], "more_images": images[1:], "kind": "given"}
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": "It."}]
    return Sample.model_validate({**told, "conversations": turns})


def test_a_sample_of_several_images_has_them_all_and_none_that_is_held_out_is_trained_on(tmp_path: Path) -> None:
    ids = [f"scene-{number:03d}" for number in range(40)]
    talks = [together(f"pair-{at:02d}", ids[at], ids[at + 1], ids[at]) for at in range(39)]
    Inputs(image_set(tmp_path / "images", ids), conversation_set(tmp_path / "talks", talks)).build(tmp_path / "out")
    trained, held = images_of(tmp_path / "out", "align"), images_of(tmp_path / "out", "held_out_align")
    seen = 0
    for stage in ("instruct", "held_out_instruct"):
        with ShardReader(tmp_path / "out", stage) as reader:
            for number in range(len(reader)):
                sample = reader.sample(number)
                assert reader.images(number) == [image_bytes(name) for name in sample.images]
                assert (stage == "instruct") == (not held & set(sample.images))
                seen += 1
    assert seen == 39 and trained and held
    with tarfile.open(next((tmp_path / "out" / "instruct").glob("*.tar"))) as tar:
        first = [name for name in tar.getnames() if name.startswith(tar.getnames()[0].split(".")[0])]
    assert [name.split(".", 1)[1] for name in first] == ["jpg", "1.jpg", "2.jpg", "json"]


def test_an_image_of_several_that_the_set_does_not_hold_is_named(tmp_path: Path) -> None:
    talks = conversation_set(tmp_path / "talks", [together("pair", "scene", "gone")])
    with pytest.raises(DataError, match="sample pair names image gone"):
        Inputs(image_set(tmp_path / "images", ["scene"]), talks).build(tmp_path / "out")


def test_all_samples_of_equal_images_lie_in_one_shard(tmp_path: Path) -> None:
    images = [Made(f"copy-{number}", image_bytes("same"), ("one", "two")) for number in range(8)]
    images += [Made(f"scene-{number}", image_bytes(f"{number}"), ("one", "two")) for number in range(30)]
    (tmp_path / "images").mkdir()
    write_image_set(tmp_path / "images", images)
    talks = conversation_set(tmp_path / "talks", [conversation("talk", None)])
    Inputs(tmp_path / "images", talks).build(tmp_path / "out", max_samples=4, captions_per_image=2, held_out=0.0)
    homes: dict[str, set[str]] = {}
    for entry in read_index(tmp_path / "out", "align"):
        assert entry.image is not None
        homes.setdefault(entry.image[2], set()).add(entry.shard)
    assert len(homes) == 31
    assert all(len(shards) == 1 for shards in homes.values())
    assert len({shard for shards in homes.values() for shard in shards}) > 5


def test_a_few_more_images_leave_the_other_shards_as_they_were(inputs: Inputs, tmp_path: Path) -> None:
    more = inputs_of(tmp_path / "more", 63)
    inputs.build(tmp_path / "before", max_samples=4)
    built = more.build(tmp_path / "after", max_samples=4)
    before, after = (
        {name: entry for name, entry in file_table(tmp_path / run).items() if name.endswith(".tar")}
        for run in ("before", "after")
    )
    changed = {name for name, entry in after.items() if before.get(name) != entry}
    # Three images with a caption and a conversation each, and three conversations alone: nine samples.
    assert 0 < len(changed) <= 9 + 6
    assert len(after) - len(changed) > len(before) // 2
    assert built.counts["shards_written"] == len(after)


def test_a_set_too_small_to_hold_anything_out_is_trained_on_whole(tmp_path: Path) -> None:
    inputs = inputs_of(tmp_path / "input", 2)
    for share in (0.5, 0.9, 0.999):
        built = inputs.build(tmp_path / f"out-{share}", held_out=share)
        assert built.counts["align_samples"] > 0
        assert built.counts["instruct_samples"] > 0
        assert built.counts["align_samples"] + built.counts["held_out_align_samples"] == 2


# ------------------------------------------------------------------------------------------------ writers, reuse


def test_the_number_of_writers_changes_no_byte(inputs: Inputs, tmp_path: Path) -> None:
    one, two = inputs.build(tmp_path / "one", writers=1), inputs.build(tmp_path / "two", writers=2)
    assert file_table(tmp_path / "one") == file_table(tmp_path / "two")
    assert one == two


def test_what_is_told_of_the_files_is_true(inputs: Inputs, tmp_path: Path) -> None:
    built = inputs.build(tmp_path / "out")
    assert built.files == file_table(tmp_path / "out")


def test_the_same_again_writes_no_shard_and_is_the_same(inputs: Inputs, tmp_path: Path) -> None:
    first = inputs.build(tmp_path / "first")
    again = inputs.build(tmp_path / "again", earlier_of(tmp_path / "first"))
    assert (again.counts["shards_written"], again.counts["shards_reused"]) == (0, first.counts["shards_written"])
    assert file_table(tmp_path / "again") == file_table(tmp_path / "first") == again.files


@pytest.mark.parametrize("writers", [1, 2])
def test_what_was_taken_over_is_as_if_it_had_been_written(inputs: Inputs, tmp_path: Path, writers: int) -> None:
    more = inputs_of(tmp_path / "more", 63)
    inputs.build(tmp_path / "before")
    written = more.build(tmp_path / "written")
    taken = more.build(tmp_path / "taken", earlier_of(tmp_path / "before"), writers=writers)
    assert file_table(tmp_path / "taken") == file_table(tmp_path / "written")
    assert taken.counts["shards_reused"] > 0
    assert taken.counts["shards_written"] > 0
    assert taken.counts | {"shards_reused": 0, "shards_written": 0} == written.counts | {"shards_written": 0}


@pytest.mark.parametrize("damage", ["altered", "gone", "of another form"])
def test_an_earlier_shard_that_is_not_whole_is_written_anew(inputs: Inputs, tmp_path: Path, damage: str) -> None:
    inputs.build(tmp_path / "first")
    expected, table = file_table(tmp_path / "first"), (tmp_path / "first" / SHARD_TABLE).read_bytes()
    for shard in (tmp_path / "first").rglob("*.tar"):
        if damage == "gone":
            shard.unlink()
        elif damage == "altered":
            shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    earlier = reusable(str(tmp_path / "first"), b'{"name": 1}\n' if damage == "of another form" else table)
    again = inputs.build(tmp_path / "again", earlier)
    assert again.counts["shards_reused"] == 0
    assert file_table(tmp_path / "again") == expected


# ------------------------------------------------------------------------------------------------ inputs


def given_sample(name: str, image: str | None) -> Sample:
    return conversation(name, image).model_copy(update={"kind": "given"})


def test_given_samples_are_used_as_they_are_beside_captions_and_conversations(inputs: Inputs, tmp_path: Path) -> None:
    (inputs.images / "given").mkdir()
    given = {
        "align": [given_sample("given-1", "scene-001"), given_sample("given-2", "scene-001")],
        "instruct": [given_sample("given-3", None), given_sample("given-1", "scene-002")],
    }
    for stage, samples in given.items():
        text = "".join(sample.line() + "\n" for sample in samples)
        (inputs.images / "given" / f"{stage}.jsonl").write_text(text, encoding="utf-8")
    built = inputs.build(tmp_path / "out", held_out=0.0)
    assert built.facts["kinds"] == {
        "align": {"caption": 60, "given": 2}, "instruct": {"conversation": 120, "given": 2},
    }
    for stage, samples in given.items():
        with ShardReader(tmp_path / "out", stage) as reader:
            found = {sample.id: sample for sample in map(reader.sample, range(len(reader)))}
        assert all(found[sample.id] == sample for sample in samples)


QUESTION = {
    "question": "Which is it?", "choices": ["this", "that"], "answer": 1, "hint": "Look.", "image": "image.png",
    "lecture": "One learns.", "solution": "It is so.",
}
ASKED = "Which is it?\nContext: Look.\nOptions: (A) this (B) that"


def listed(inputs: Inputs, *questions: dict[str, object]) -> None:
    text = "".join(json.dumps(question) + "\n" for question in questions)
    (inputs.images / "questions.jsonl").write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("form", "answer"),
    [
        ("QCM-A", "The answer is B."),
        ("QCM-LEA", "One learns. It is so. The answer is B."),
        ("QCM-LEPA", "LECTURE: One learns.\nSOLUTION: It is so.\n###\nANSWER: B."),
    ],
)
def test_listed_questions_are_asked_in_the_format_wished(
    inputs: Inputs, tmp_path: Path, form: str, answer: str
) -> None:
    # The second one's image was left out of the set.
    listed(
        inputs, {"id": "1", "image": "scene-003", "problem": QUESTION}, {"id": "2", "image": None, "problem": QUESTION}
    )
    (tmp_path / "out").mkdir()
    config = ShardConfig.model_validate({"held_out": 0.0, "scienceqa_format": form})
    build_shards(tmp_path / "out", inputs.images, inputs.conversations, config, 0, Silent())
    with ShardReader(tmp_path / "out", "instruct") as reader:
        found = {sample.id: sample for sample in map(reader.sample, range(len(reader))) if sample.kind == "question"}
    assert {name: sample.image for name, sample in found.items()} == {"question-1": "scene-003", "question-2": None}
    assert turn_texts(found["question-1"].conversations) == [f"<image>\n{ASKED}", answer]
    assert turn_texts(found["question-2"].conversations) == [ASKED, answer]


def test_a_listed_question_that_makes_no_sense_is_an_error_that_names_it(inputs: Inputs, tmp_path: Path) -> None:
    listed(inputs, {"id": "7", "image": None, "problem": {**QUESTION, "answer": 5}})
    with pytest.raises(DataError, match=r"question 7: answer 5 is none of its choices"):
        inputs.build(tmp_path / "out")
    listed(inputs, {"id": "7", "picture": None})
    with pytest.raises(ArtifactError, match=r"questions\.jsonl, line 1, cannot be read"):
        inputs.build(tmp_path / "out2")


def test_an_image_that_was_altered_since_it_was_ingested_is_an_error_that_names_the_sample(
    inputs: Inputs, tmp_path: Path
) -> None:
    part = inputs.images / "images" / "part-00000.tar"
    data = bytearray(part.read_bytes())
    at = data.index(image_bytes("scene-005"))
    data[at] ^= 1
    part.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"sample scene-005-\S+: its image was altered"):
        inputs.build(tmp_path / "out")


# ------------------------------------------------------------------------------------------------ the disk


@dataclass(frozen=True)
class FullAfter:
    """A sink on a disk that has room for so many bytes."""

    folder: Path
    room: int

    @contextmanager
    def create(self, path: str) -> Iterator[SinkFile]:
        used = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        with FolderSink(self.folder).create(path) as out:
            yield Filling(out, self.room - used)

    def adopt(self, path: str, source: str, entry: FileEntry) -> bool:
        return FolderSink(self.folder).adopt(path, source, entry)


class Filling(SinkFile):
    def __init__(self, out: SinkFile, room: int) -> None:
        super().__init__(out)
        self._room = room

    def write(self, data: bytes) -> None:
        if self.size + len(data) > self._room:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(data)


SPEC = StageSpec("shard", ShardSet, ("tasks/progress.py",), {}, {
    "ingest": ImageSet(uri="/nowhere", digest="i", key="i", made_by=MADE_BY)
})  # fmt: skip


@pytest.mark.parametrize("room", [0, 30_000, 100_000])
def test_a_disk_that_fills_up_is_told_and_nothing_half_written_is_taken_for_whole(
    inputs: Inputs, tmp_path: Path, room: int
) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "scratch")

    def build(folder: Path, progress: Progress, room: int | None = room) -> Built:
        shutil.rmtree(folder)
        return inputs.build(folder, sink=None if room is None else FullAfter(folder, room))

    source = CodeState(commit=None, dirty=None, libraries={})
    with pytest.raises(EnvironmentProblem, match="is full; free some space and run again"):
        execute(store, SPEC, decide(store, SPEC), build, Silent(), source)
    assert store.keys("shard") == []
    assert list((tmp_path / "scratch").iterdir()) == []
    made = execute(store, SPEC, decide(store, SPEC), lambda f, p: build(f, p, None), Silent(), source)
    assert decide(store, SPEC).artifact == made


@pytest.fixture
def small_disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own with room for so many bytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = f"size={request.param}"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


# Full while the table is gathered, while it is sorted, and while shards are written; with the last all fits.
@pytest.mark.parametrize(
    ("small_disk", "fits"), [("20k", False), ("80k", False), ("300k", False), ("10m", True)], indirect=["small_disk"]
)
def test_a_disk_that_is_really_full_is_told_and_leaves_nothing(inputs: Inputs, small_disk: Path, fits: bool) -> None:
    store = Store(str(small_disk / "store"), small_disk / "scratch")

    def build(folder: Path, progress: Progress) -> Built:
        folder.rmdir()
        return inputs.build(folder)

    source = CodeState(commit=None, dirty=None, libraries={})
    if fits:
        assert execute(store, SPEC, decide(store, SPEC), build, Silent(), source).counts["align_samples"] > 0
        return
    with pytest.raises(EnvironmentProblem, match="is full; free some space and run again"):
        execute(store, SPEC, decide(store, SPEC), build, Silent(), source)
    assert store.keys("shard") == []
    assert list((small_disk / "scratch").iterdir()) == []


def test_samples_of_a_shard_are_in_an_order_that_neither_source_nor_kind_tells(inputs: Inputs, tmp_path: Path) -> None:
    inputs.build(tmp_path / "out", max_samples=1000, held_out=0.0)
    with ShardReader(tmp_path / "out", "instruct") as reader:
        text_only = [reader.sample(number).image is None for number in range(len(reader))]
    assert sum(one != other for one, other in pairwise(text_only)) > 30
