"""Reading samples where they lie: the same as from a folder, each byte compared, the cache no larger than its bound."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest

from configs.schema import ShardConfig
from tasks.artifacts import MANIFEST, FileEntry, MadeBy, ShardSet
from tasks.errors import ArtifactError, EnvironmentProblem
from tasks.progress import Silent
from tasks.remote_spans import FileCache, RemoteSpans, readable
from tasks.shard.run import build_shards
from tasks.shards import ShardReader
from tasks.sinks import file_entry
from tasks.storage import Store, file_table
from tasks.train.mixture import Sources
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_set

IDS = [f"scene-{number:03d}" for number in range(20)]
LARGE = 1 << 30


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    images = image_set(folder / "images", IDS)
    talks = conversation_set(folder / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    (folder / "out").mkdir()
    build_shards(folder / "out", images, talks, ShardConfig(max_samples=6, held_out=0.0), 0, Silent())
    return folder / "out"


@pytest.fixture
def uri(shards: Path) -> Iterator[str]:
    """The same artifact in fsspec's store in memory."""
    memory = fsspec.filesystem("memory")
    memory.put(str(shards), "/bucket/set", recursive=True)
    yield "memory://bucket/set"
    memory.rm("/bucket", recursive=True)


def everything(reader: ShardReader) -> list[tuple[str, bytes | None]]:
    return [(reader.sample(number).line(), reader.image_bytes(number)) for number in range(len(reader))]


def remote(uri: str, shards: Path, cache: Path, bound: int = LARGE) -> RemoteSpans:
    return RemoteSpans(uri, file_table(shards), FileCache(cache, bound))


@pytest.mark.parametrize("bound", [LARGE, 1], ids=["whole shards", "bytes of a sample"])
def test_what_is_read_is_what_lies_in_the_folder(uri: str, shards: Path, tmp_path: Path, bound: int) -> None:
    with ShardReader(shards, "instruct") as local, ShardReader(remote(uri, shards, tmp_path, bound), "instruct") as far:
        assert far.keys() == local.keys()
        assert everything(far) == everything(local)


def test_a_training_stage_reads_the_same_samples_of_a_set_that_lies_elsewhere(
    uri: str, shards: Path, tmp_path: Path
) -> None:
    far = Sources({"": pickle.loads(pickle.dumps(remote(uri, shards, tmp_path)))}, "instruct")
    with Sources({"": shards}, "instruct") as near, far:
        assert far.keys() == near.keys()
        assert [far.sample(at) for at in range(len(far))] == [near.sample(at) for at in range(len(near))]


def test_a_local_artifact_is_its_folder_and_one_that_is_gone_from_a_remote_store_is_told(tmp_path: Path) -> None:
    made = ShardSet(
        uri="memory://bucket/store/shard/k", digest="0" * 64, key="k", counts={}, parents={}, facts={},
        made_by=MadeBy(stage="shard", code="c", config="d"),
    )
    cache = FileCache(tmp_path / "cache", LARGE)
    near = made.model_copy(update={"uri": f"{tmp_path}/store/shard/k"})
    Path(near.uri).mkdir(parents=True)
    Path(near.uri, MANIFEST).touch()
    assert readable(Store(str(tmp_path / "store"), tmp_path / "scratch"), near, cache) == Path(near.uri)
    with pytest.raises(ArtifactError, match="is gone; run again"):
        readable(Store("memory://bucket/store", tmp_path / "scratch"), made, cache)


def test_shards_that_do_not_fit_together_are_never_fetched_whole(uri: str, shards: Path, tmp_path: Path) -> None:
    sizes = [entry.size for name, entry in file_table(shards).items() if name.startswith("instruct/")]
    with ShardReader(remote(uri, shards, tmp_path, max(sizes)), "instruct") as far:
        everything(far)
    tars = {entry.sha256 for name, entry in file_table(shards).items() if name.endswith(".tar")}
    assert not tars & {path.name for path in tmp_path.iterdir()}


def test_each_shard_is_fetched_once_by_however_many_threads(
    uri: str, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory, fetched, lock = fsspec.filesystem("memory"), [], threading.Lock()
    get = type(memory).get_file

    def counting(self: Any, path: str, *rest: Any, **named: Any) -> Any:
        with lock:
            fetched.append(path)
        return get(self, path, *rest, **named)

    monkeypatch.setattr(type(memory), "get_file", counting)
    readers = [ShardReader(remote(uri, shards, tmp_path), "align") for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        assert len({str(found) for found in pool.map(everything, readers * 2)}) == 1
    assert len(fetched) == len(set(fetched)) > 1


def test_a_reader_sent_elsewhere_reads_the_same(uri: str, shards: Path, tmp_path: Path) -> None:
    with ShardReader(remote(uri, shards, tmp_path), "instruct") as reader:
        expected = everything(reader)
        with pickle.loads(pickle.dumps(reader)) as copy:
            assert everything(copy) == expected


@pytest.mark.parametrize("bound", [LARGE, 1], ids=["whole shards", "bytes of a sample"])
def test_an_altered_shard_is_noticed(uri: str, shards: Path, tmp_path: Path, bound: int) -> None:
    with ShardReader(remote(uri, shards, tmp_path, bound), "instruct") as reader:
        entry = reader.entry(3)
        memory = fsspec.filesystem("memory")
        data = bytearray(memory.cat_file(f"/bucket/set/{entry.shard}"))
        data[entry.record[0]] ^= 1
        memory.pipe_file(f"/bucket/set/{entry.shard}", bytes(data))
        with pytest.raises(ArtifactError, match=rf"{entry.shard} was altered.*run again"):
            reader.sample(3)


@pytest.mark.parametrize("bound", [LARGE, 1], ids=["whole shards", "bytes of a sample"])
def test_a_shard_that_is_gone_is_named(uri: str, shards: Path, tmp_path: Path, bound: int) -> None:
    with ShardReader(remote(uri, shards, tmp_path, bound), "instruct") as reader:
        shard = reader.entry(0).shard
        fsspec.filesystem("memory").rm(f"/bucket/set/{shard}")
        with pytest.raises(ArtifactError, match=f"{shard} is missing"):
            reader.sample(0)


def test_a_store_out_of_reach_is_a_problem_of_the_environment_not_of_the_data(shards: Path, tmp_path: Path) -> None:
    once = {"config_kwargs": {"retries": {"max_attempts": 1}}}
    options = {"key": "a", "secret": "b", "endpoint_url": "http://127.0.0.1:9", **once}
    spans = RemoteSpans("s3://bucket/set", file_table(shards), FileCache(tmp_path, LARGE), options)
    with pytest.raises(EnvironmentProblem, match=r"s3://bucket/set/index/instruct.jsonl cannot be read.*run again"):
        ShardReader(spans, "instruct")


def put(cache: FileCache, source: Path, content: bytes) -> Path:
    source.write_bytes(content)
    return cache.take(file_entry(source), lambda path: path.write_bytes(content))


def test_the_cache_keeps_to_its_bound_and_what_was_used_last(tmp_path: Path) -> None:
    cache = FileCache(tmp_path / "cache", 250)
    first, second = put(cache, tmp_path / "a", b"a" * 100), put(cache, tmp_path / "b", b"b" * 100)
    put(cache, tmp_path / "a", b"a" * 100)
    third = put(cache, tmp_path / "c", b"c" * 100)
    assert [path.exists() for path in (first, second, third)] == [True, False, True]


def test_a_file_that_arrives_wrong_is_not_kept(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    with pytest.raises(ArtifactError, match="3 bytes, 4 were expected"):
        cache.take(FileEntry(size=4, sha256="0" * 64), lambda path: path.write_bytes(b"abc"))
    assert not [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]
