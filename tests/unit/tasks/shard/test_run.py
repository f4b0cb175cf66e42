"""Building shards: plain WebDataset tars, the same bytes for the same input, nothing lost and nothing made up."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from configs.schema import ShardConfig
from model.records import Sample
from tasks.errors import ArtifactError, DataError
from tasks.image_files import WITHDRAWN
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.shards import ShardReader, read_index
from tasks.stages import Built
from tasks.storage import file_table
from tests.unit.tasks.shard.sets import (
    conversation,
    conversation_set,
    image_bytes,
    image_set,
    question_set,
    turn_texts,
)

IDS = [f"scene-{number:03d}" for number in range(12)]


class Inputs:
    """An image set with questions, and a conversation set, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = image_set(folder / "images", IDS)
        question_set(self.images, {"train": ["1", "2", "3"], "test": ["4"]}, with_image={"1", "4"})
        samples = [conversation(f"{name}-talk", name) for name in IDS[:7]] + [conversation("a/b c.d", None)]
        self.conversations = conversation_set(folder / "conversations", samples)

    def build(self, name: str, config: ShardConfig | None = None, seed: int = 0) -> tuple[Path, Built]:
        folder = self.folder / name
        folder.mkdir()
        config = config or ShardConfig(held_out=0.0)
        return folder, build_shards(folder, self.images, self.conversations, config, seed, Silent())


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path)


def plain_samples(folder: Path, stage: str) -> dict[str, dict[str, bytes]]:
    """What WebDataset itself reads, knowing nothing of this project."""
    import webdataset

    urls = [str(path) for path in sorted((folder / stage).glob("*.tar"))]
    read = webdataset.WebDataset(urls, shardshuffle=False)
    return {sample["__key__"]: {name: data for name, data in sample.items() if name[0] != "_"} for sample in read}


def test_a_plain_webdataset_reader_reads_every_sample(inputs: Inputs) -> None:
    folder, built = inputs.build("out", ShardConfig(held_out=0.0, max_samples=4))
    for stage, expected in (("align", 12), ("instruct", 7 + 1 + 3)):
        read = plain_samples(folder, stage)
        assert len(read) == expected == built.counts[f"{stage}_samples"]
        for members in read.values():
            sample = Sample.model_validate_json(members["json"])
            assert set(members) == ({"json"} if sample.image is None else {"json", "png", "jpg"} & set(members))
            assert ("jpg" in members or "png" in members) == (sample.image is not None)


def test_images_reach_the_shards_as_they_came(inputs: Inputs) -> None:
    folder, _ = inputs.build("out")
    for stage in ("align", "instruct"):
        reader = ShardReader(folder, stage)
        for number in range(len(reader)):
            image = reader.sample(number).image
            if image is None:
                assert reader.image_bytes(number) is None
            else:
                name = image.replace("scienceqa-", "question-")
                assert reader.image_bytes(number) == image_bytes(name)


def test_identical_input_gives_identical_bytes(inputs: Inputs, tmp_path: Path) -> None:
    elsewhere = Inputs(tmp_path / "elsewhere")
    one, first = inputs.build("one", ShardConfig(held_out=0.0, max_samples=3))
    other, second = elsewhere.build("other", ShardConfig(held_out=0.0, max_samples=3))
    assert file_table(one) == file_table(other)
    assert first == second


def test_members_carry_no_time_and_no_owner_of_this_machine(inputs: Inputs) -> None:
    folder, _ = inputs.build("out")
    with tarfile.open(folder / "align" / "shard-all.tar") as tar:
        headers = {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in tar}
    assert headers == {(0, 0, 0, "root", "root", 0o644)}


def test_index_offsets_give_the_members_bytes(inputs: Inputs) -> None:
    folder, _ = inputs.build("out", ShardConfig(held_out=0.0, max_samples=5))
    for stage in ("align", "instruct"):
        plain = plain_samples(folder, stage)
        entries = read_index(folder, stage)
        assert [entry.key for entry in entries] == list(plain)
        for entry in entries:
            for member, expected in (
                (entry.record, plain[entry.key]["json"]),
                (entry.image, plain[entry.key].get("jpg", plain[entry.key].get("png"))),
            ):
                if member is None:
                    assert expected is None
                    continue
                offset, size, digest = member
                data = (folder / entry.shard).read_bytes()[offset : offset + size]
                assert data == expected
                assert hashlib.sha256(data).hexdigest() == digest


def test_shards_keep_to_their_bounds(inputs: Inputs) -> None:
    folder, built = inputs.build("out", ShardConfig(held_out=0.0, max_samples=1000, max_bytes=30_000))
    shards = sorted((folder / "align").iterdir())
    assert len(shards) == built.counts["align_shards"] > 1
    assert all(path.stat().st_size <= 30_000 for path in shards)
    assert sum(path.stat().st_size for path in shards) == built.counts["align_bytes"]


def test_a_sample_above_the_bound_has_a_shard_of_its_own(inputs: Inputs) -> None:
    folder, built = inputs.build("out", ShardConfig(held_out=0.0, max_bytes=1))
    assert built.counts["align_shards"] == built.counts["align_samples"] == len(ShardReader(folder, "align"))


def test_shards_hold_kinds_mixed(tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", IDS)
    question_set(images, {"train": [str(number) for number in range(40)]}, with_image=set())
    talks = conversation_set(tmp_path / "talks", [conversation(f"talk-{number}", None) for number in range(40)])
    (tmp_path / "out").mkdir()
    build_shards(tmp_path / "out", images, talks, ShardConfig(held_out=0.0, max_samples=20), 0, Silent())
    reader = ShardReader(tmp_path / "out", "instruct")
    for start in range(0, 80, 20):
        assert len({reader.sample(number).kind for number in range(start, start + 20)}) == 2


def test_captions_are_those_of_the_image_and_as_many_as_asked_for(inputs: Inputs) -> None:
    folder, _ = inputs.build("out", ShardConfig(held_out=0.0, captions_per_image=2))
    reader = ShardReader(folder, "align")
    samples = [reader.sample(number) for number in range(len(reader))]
    assert len(samples) == 24
    for sample in samples:
        human, gpt = turn_texts(sample.conversations)
        number = sample.id.rsplit("-", 1)[1]
        assert sample.id == f"{sample.image}-caption-{number}"
        assert gpt == f"caption {number} of {sample.image}"
        assert human.startswith("<image>\n")
        assert sample.kind == "caption"


def test_the_seed_draws_the_captions_and_nothing_else(inputs: Inputs) -> None:
    one, _ = inputs.build("one", seed=1)
    two, _ = inputs.build("two", seed=2)
    assert set(ShardReader(one, "align").keys()) != set(ShardReader(two, "align").keys())
    tables = [file_table(folder / "instruct") for folder in (one, two)]
    assert tables[0] == tables[1]


def test_questions_of_the_training_split_become_samples_with_the_answer_the_format_asks_for(inputs: Inputs) -> None:
    folder, built = inputs.build("out", ShardConfig(held_out=0.0, scienceqa_format="QCM-LEA"))
    reader = ShardReader(folder, "instruct")
    questions = {s.id: s for s in map(reader.sample, range(len(reader))) if s.kind == "question"}
    assert set(questions) == {"scienceqa-1", "scienceqa-2", "scienceqa-3"}
    assert questions["scienceqa-1"].image == "scienceqa-1"
    assert questions["scienceqa-2"].image is None
    assert turn_texts(questions["scienceqa-2"].conversations) == [
        "Which is 2?\nContext: Look.\nOptions: (A) this (B) that",
        "One learns. It is so. The answer is B.",
    ]
    assert built.facts["kinds"] == {"align": {"caption": 12}, "instruct": {"conversation": 8, "question": 3}}


def test_questions_are_left_out_where_the_experiment_says_so(inputs: Inputs) -> None:
    _, built = inputs.build("out", ShardConfig(held_out=0.0, scienceqa_train=False))
    assert built.counts["instruct_samples"] == 8


def test_a_missing_part_is_an_error_that_names_it(inputs: Inputs) -> None:
    (inputs.images / "images" / "part-00000.tar").unlink()
    with pytest.raises(ArtifactError, match=r"part-00000\.tar cannot be opened"):
        inputs.build("out")


def test_a_question_without_its_image_file_is_an_error_that_names_it(inputs: Inputs) -> None:
    (inputs.images / "benchmarks/scienceqa/images/train/1/image.png").unlink()
    with pytest.raises(DataError, match="scienceqa-1"):
        inputs.build("out")


def test_a_conversation_about_an_unknown_image_is_an_error_that_names_both(tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", IDS)
    talks = conversation_set(tmp_path / "talks", [conversation("talk", "nowhere")])
    with pytest.raises(DataError, match="talk names image nowhere"):
        build_shards(tmp_path, images, talks, ShardConfig(held_out=0.0), 0, Silent())


def test_two_samples_of_one_id_are_an_error(tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", IDS)
    talks = conversation_set(tmp_path / "talks", [conversation("talk", None), conversation("talk", "scene-001")])
    with pytest.raises(DataError, match="two samples have the id talk"):
        build_shards(tmp_path, images, talks, ShardConfig(held_out=0.0), 0, Silent())


def test_a_stage_without_samples_is_an_error(tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", IDS)
    with pytest.raises(DataError, match="no sample for stage instruct"):
        build_shards(tmp_path, images, conversation_set(tmp_path / "talks", []), ShardConfig(held_out=0.0), 0, Silent())


def test_a_broken_line_is_an_error_of_the_artifact(inputs: Inputs) -> None:
    (inputs.conversations / "conversations.jsonl").write_text('{"id": "half', encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"conversations\.jsonl cannot be read"):
        inputs.build("out")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("problems.json", "[1]", "holds no JSON object"),
        ("problems.json", "{}", "question 1"),
        ("problems.json", '{"1": {"question": "Q", "choices": ["a"], "answer": 3}}', "answer 3 is none of its choices"),
        ("pid_splits.json", '{"train": "1"}', "must be a list of question ids"),
    ],
)
def test_a_damaged_question_set_is_an_error_that_names_the_fault(
    inputs: Inputs, file: str, text: str, said: str
) -> None:
    (inputs.images / "benchmarks" / "scienceqa" / file).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        inputs.build("out")


class Heard:
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def update(self, done: int, total: int, **shown: float | str) -> None:
        self.calls.append((done, total))

    def note(self, message: str) -> None:
        pass


def test_progress_rises_to_the_total(inputs: Inputs) -> None:
    heard = Heard()
    (inputs.folder / "out").mkdir()
    config = ShardConfig(held_out=0.0, max_samples=5)
    build_shards(inputs.folder / "out", inputs.images, inputs.conversations, config, 0, heard)
    written = [done for done, total in heard.calls if total]
    assert written == sorted(set(written))
    assert heard.calls[-1] == (23, 23)


def test_a_withdrawn_image_of_the_training_questions_gets_into_no_shard(inputs: Inputs) -> None:
    withdrawn = hashlib.sha256(image_bytes("question-1")).hexdigest()
    (inputs.images / WITHDRAWN).write_text(f"{withdrawn}\n")
    folder, built = inputs.build("out")
    reader = ShardReader(folder, "instruct")
    assert all(reader.entry(number).key != "scienceqa-1" for number in range(len(reader)))
    assert built.counts["instruct_samples"] == 7 + 1 + 2
