"""Reading samples by number: from threads, from other processes, and from shards that are not as they were."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.schema import ShardConfig
from tasks.errors import ArtifactError
from tasks.progress import Silent
from tasks.shard.run import build_shards
from tasks.shards import ShardReader
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_set

IDS = [f"scene-{number:03d}" for number in range(20)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    images = image_set(tmp_path / "images", IDS)
    talks = conversation_set(tmp_path / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    (tmp_path / "out").mkdir()
    build_shards(tmp_path / "out", images, talks, ShardConfig(max_samples=6, held_out=0.0), 0, Silent())
    return tmp_path / "out"


def everything(reader: ShardReader) -> list[tuple[str, bytes | None]]:
    return [(reader.sample(number).line(), reader.image_bytes(number)) for number in range(len(reader))]


def test_keys_are_in_the_order_of_the_numbers(shards: Path) -> None:
    with ShardReader(shards, "instruct") as reader:
        assert reader.keys() == [reader.sample(number).id for number in range(len(reader))]


def test_a_reader_that_was_pickled_while_open_reads_the_same(shards: Path) -> None:
    with ShardReader(shards, "instruct") as reader:
        expected = everything(reader)
        with pickle.loads(pickle.dumps(reader)) as copy:
            reader.close()
            assert everything(copy) == expected


def test_threads_may_share_a_reader(shards: Path) -> None:
    with ShardReader(shards, "align") as reader, ThreadPoolExecutor(8) as pool:
        expected = everything(reader)
        assert all(found == expected for found in pool.map(lambda _: everything(reader), range(16)))


def test_shards_and_index_are_opened_once_and_closed(shards: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    files = len(list((shards / "align").iterdir())) + 1
    with ShardReader(shards, "align") as reader:
        for _ in range(3):
            everything(reader)
        assert len(list(Path("/proc/self/fd").iterdir())) == before + files
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_shard_that_is_cut_off_is_an_error_of_the_artifact(shards: Path) -> None:
    shard = min((shards / "align").iterdir())
    shard.write_bytes(shard.read_bytes()[:600])
    with ShardReader(shards, "align") as reader, pytest.raises(ArtifactError, match="cut off"):
        everything(reader)


def test_a_shard_that_is_gone_is_an_error_of_the_artifact(shards: Path) -> None:
    max((shards / "align").iterdir()).unlink()
    with ShardReader(shards, "align") as reader, pytest.raises(ArtifactError, match="cannot be opened"):
        everything(reader)


def test_a_shard_that_was_altered_is_an_error_of_the_artifact(shards: Path) -> None:
    with ShardReader(shards, "align") as reader:
        offset = reader.entry(0).record[0]
        shard = shards / reader.entry(0).shard
        data = bytearray(shard.read_bytes())
        data[offset] = ord("?")
        shard.write_bytes(data)
        with pytest.raises(ArtifactError, match="cannot be read"):
            reader.sample(0)


@pytest.mark.parametrize("text", [None, "{", '{"key": "a"}\n'])
def test_an_index_that_is_not_whole_is_an_error_of_the_artifact(shards: Path, text: str | None) -> None:
    index = shards / "index" / "align.jsonl"
    index.unlink() if text is None else index.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match="run again"):
        ShardReader(shards, "align")
