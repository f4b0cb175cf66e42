"""Near duplicates, within the set and in test sets; what decoding told, kept from build to build; two at a time."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from configs.schema import (
    ImageLimits,
    JsonlSource,
    LlavaBenchConfig,
    LlavaJsonSource,
    NearDuplicates,
    ScienceQAConfig,
    ScriptedEndpoint,
)
from tasks.errors import DataError, TooMuchBadInput
from tasks.ingest.duplicates import Seen
from tasks.ingest.hashing import bands_of, distance
from tasks.ingest.staging import Staging
from tasks.ingest.testsets import TestSet
from tests.fakes.progress import Noted
from tests.unit.tasks.ingest.sets import JSONL, Result, ingest, picture, scene, write_jsonl

NEAR = NearDuplicates()


def write(root: Path, images: dict[str, bytes]) -> Path:
    return write_jsonl(root, [{"image": name, "captions": [name]} for name in images], images)


def kept(result: Result) -> list[str]:
    return [image.id for image in result.images]


def sure(image: str | None) -> str:
    assert image is not None
    return image


# Hashes


@pytest.mark.parametrize("bits", range(8))
def test_hashes_that_differ_in_so_many_bits_share_a_band(bits: int) -> None:
    draw = random.Random(bits)
    for _ in range(200):
        one = draw.getrandbits(64)
        other = one
        for place in draw.sample(range(64), bits):
            other ^= 1 << place
        assert distance(one, other) == bits
        assert any(a == b for a, b in zip(bands_of(one, bits), bands_of(other, bits), strict=True))


def test_the_nearest_is_found_and_what_is_further_is_not(tmp_path: Path) -> None:
    draw = random.Random(3)
    hashes = [draw.getrandbits(64) for _ in range(300)]
    with Staging(tmp_path / "staging.db") as staging:
        seen = Seen(staging, "kept", 3).create()
        for place, number in enumerate(hashes):
            seen.add(f"{place:03d}", f"{place:064d}", f"{number:016x}")
        for place, number in enumerate(hashes):
            flips = draw.sample(range(64), 4)
            within = number ^ sum(1 << flip for flip in flips[:3])
            assert seen.near(f"{within:016x}") == (f"{place:03d}", 3)
            assert seen.near(f"{within ^ (1 << flips[3]):016x}") is None
        assert seen.near(None) is None


# Within the set


def test_a_near_duplicate_is_quarantined_and_counts_as_nothing_bad(tmp_path: Path) -> None:
    images = {"a.jpg": scene(1, kind="JPEG", quality=95), "b.jpg": scene(1, kind="JPEG", quality=40), "c.jpg": scene(2)}
    root = write(tmp_path / "data", images)
    result = ingest(tmp_path / "out", root, JSONL, near=NEAR, limits=ImageLimits(max_bad_share=0.0))
    assert kept(result) == ["a", "c"]
    assert [(row["id"], row["reason"]) for row in result.quarantine] == [("b", "near duplicate")]
    assert result.quarantine[0]["detail"].startswith("of a, hash differs in ")
    assert all(len(sure(image.phash)) == 16 for image in result.images)
    assert kept(ingest(tmp_path / "off", root, JSONL)) == ["a", "b", "c"]


def test_flat_images_are_no_near_duplicates_of_one_another(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {f"{number}.png": picture(number) for number in range(5)})
    result = ingest(tmp_path / "out", root, JSONL, near=NEAR)
    assert len(result.images) == 5 and all(image.phash is None for image in result.images)


def test_an_image_that_a_sample_is_about_is_kept_though_it_looks_like_another(tmp_path: Path) -> None:
    images = {"a.jpg": scene(1, kind="JPEG", quality=95), "b.jpg": scene(1, kind="JPEG", quality=40)}
    root = write(tmp_path / "data", images)
    given(root, "b.jpg")
    result = ingest(tmp_path / "out", root, JsonlSource(kind="jsonl", root=".", limit=1), GIVEN, near=NEAR)
    assert kept(result) == ["a", "b"] and result.built.counts["near_duplicates_kept"] == 1


# Test sets


GIVEN = LlavaJsonSource(kind="llava_json", root="data", file="chat.json", stage="instruct")


def given(root: Path, *images: str) -> None:
    turns = [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]
    rows = [{"id": f"about {name}", "image": name, "conversations": turns} for name in images]
    (root / "chat.json").write_text(json.dumps(rows), encoding="utf-8")


def science(root: Path, images: dict[str, bytes]) -> TestSet:
    problems = {}
    for pid, data in images.items():
        path = root / "images" / "test" / pid / "image.png"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        problems[pid] = {"question": "Q", "image": "image.png"}
    other = root / "images" / "train" / "99" / "image.png"
    other.parent.mkdir(parents=True)
    other.write_bytes(picture(99))
    (root / "problems.json").write_text(json.dumps(problems | {"99": {"image": "image.png"}}), encoding="utf-8")
    (root / "pid_splits.json").write_text(json.dumps({"test": list(images), "train": ["99"]}), encoding="utf-8")
    return TestSet("scienceqa", root, ScienceQAConfig())


def bench(root: Path, images: dict[str, bytes]) -> TestSet:
    (root / "images").mkdir(parents=True)
    for name, data in images.items():
        (root / "images" / name).write_bytes(data)
    lines = [json.dumps({"question_id": place, "image": name}) for place, name in enumerate([*images, *images])]
    (root / "questions.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return TestSet("llava_bench", root, LlavaBenchConfig(judge=ScriptedEndpoint(kind="scripted")))


def test_images_of_test_sets_are_left_out_with_their_samples_and_listed(tmp_path: Path) -> None:
    images = {
        "equal.png": scene(1), "near.jpg": scene(2, kind="JPEG", quality=50), "other.png": scene(3),
        "trained.png": picture(99),
    }
    root = write(tmp_path / "data", images)
    given(root, *images)
    sets = [science(tmp_path / "sqa", {"7": scene(1)}), bench(tmp_path / "bench", {"001.png": scene(2)})]
    strict = ImageLimits(max_bad_share=0.0)
    result = ingest(tmp_path / "out", root, JSONL, GIVEN, near=NEAR, test_sets=sets, limits=strict)
    assert kept(result) == ["other", "trained"]
    details = {row["id"]: (row["reason"], row["detail"]) for row in result.quarantine}
    assert details["equal"] == ("occurs in a test set", "scienceqa: images/test/7/image.png (same bytes)")
    assert details["near"][1].startswith("llava_bench: images/001.png (hash differs in ")
    assert details["about_equal_png"] == ("its image occurs in a test set", "equal.png: occurs in a test set")
    counts = result.built.counts
    assert (counts["in_test_sets"], counts["test_images"], counts["given_instruct"]) == (4, 2, 2)
    assert counts["quarantined"] == 6


def test_without_near_duplicates_only_equal_bytes_are_left_out(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"equal.png": scene(1), "near.jpg": scene(1, kind="JPEG", quality=50)})
    result = ingest(tmp_path / "out", root, JSONL, test_sets=[science(tmp_path / "sqa", {"7": scene(1)})])
    assert kept(result) == ["near"]


def test_an_image_that_a_test_set_lacks_is_said_and_counted(tmp_path: Path) -> None:
    root, progress = write(tmp_path / "data", {"a.png": scene(1)}), Noted()
    test_set = bench(tmp_path / "bench", {"x.png": b"broken", "y.png": scene(2)})
    (tmp_path / "bench" / "images" / "y.png").unlink()
    result = ingest(tmp_path / "out", root, JSONL, test_sets=[test_set], progress=progress)
    assert result.built.counts["test_images_missing"] == 2 and len(progress.notes) == 2


def test_a_test_set_that_is_not_there_stops_the_stage(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"a.png": scene(1)})
    with pytest.raises(DataError, match="no folder of test set scienceqa"):
        ingest(tmp_path / "out", root, JSONL, test_sets=[TestSet("scienceqa", tmp_path / "no", ScienceQAConfig())])


# From build to build


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_new_version_decodes_what_is_new_or_changed_and_gives_what_a_first_build_gives(tmp_path: Path) -> None:
    images = {
        "a.png": scene(1), "b.png": scene(2), "webp.webp": scene(3, kind="WEBP"), "bad.png": b"bad",
        "big.png": b"0" * 100_001,
    }
    root, cache = write(tmp_path / "data", images), tmp_path / "caches" / "decoded.db"
    first = ingest(tmp_path / "first", root, JSONL, near=NEAR, cache=cache)
    assert (first.built.counts["decoded"], first.built.counts["known"]) == (5, 0)
    again = ingest(tmp_path / "again", root, JSONL, near=NEAR, cache=cache)
    # What is not kept as it came has to be made again.
    assert (again.built.counts["decoded"], again.built.counts["known"]) == (1, 4)
    assert files(first.folder) == files(again.folder)
    (root / "images" / "b.png").write_bytes(scene(22))
    (root / "images" / "c.png").write_bytes(scene(4))
    with (root / "annotations.jsonl").open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"image": "c.png", "captions": ["c"]}) + "\n")
    new = ingest(tmp_path / "new", root, JSONL, near=NEAR, cache=cache)
    assert (new.built.counts["decoded"], new.built.counts["known"]) == (3, 3)
    assert files(new.folder) == files(ingest(tmp_path / "fresh", root, JSONL, near=NEAR).folder)


def test_what_was_found_within_other_limits_is_not_taken_for_known(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "data", {"a.png": scene(1), "b.png": scene(2, (16, 16))}), tmp_path / "decoded.db"
    assert kept(ingest(tmp_path / "one", root, JSONL, cache=cache)) == ["a", "b"]
    bounded = ImageLimits(max_bad_share=1.0, max_pixels=1000)
    assert kept(ingest(tmp_path / "two", root, JSONL, cache=cache, limits=bounded)) == ["b"]


def test_a_file_that_was_missing_is_looked_for_again(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "data", {"a.png": scene(1), "b.png": scene(2)}), tmp_path / "decoded.db"
    (root / "images" / "b.png").rename(tmp_path / "b.png")
    assert kept(ingest(tmp_path / "one", root, JSONL, cache=cache)) == ["a"]
    (tmp_path / "b.png").rename(root / "images" / "b.png")
    assert kept(ingest(tmp_path / "two", root, JSONL, cache=cache)) == ["a", "b"]


def test_two_builds_of_one_folder_at_a_time_give_the_same(tmp_path: Path) -> None:
    images = {f"{number:03d}.png": scene(number, (16, 16)) for number in range(80)}
    root, cache = write(tmp_path / "data", images | {"bad.png": b"bad"}), tmp_path / "decoded.db"
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(ingest, tmp_path / str(place), root, JSONL, near=NEAR, cache=cache) for place in range(4)]
        first, *others = [files(job.result().folder) for job in jobs]
    assert len(first) == 3 and all(other == first for other in others)


def test_a_build_that_fails_leaves_no_staging_behind_and_keeps_what_it_learnt(tmp_path: Path) -> None:
    root, cache = write(tmp_path / "data", {"a.png": scene(1), "b.png": b"bad"}), tmp_path / "decoded.db"
    with pytest.raises(TooMuchBadInput):
        ingest(tmp_path / "one", root, JSONL, cache=cache, limits=ImageLimits(max_bad_share=0.0))
    assert [path for path in (tmp_path / "one").iterdir() if path.name.startswith(".")] == []
    again = ingest(tmp_path / "two", root, JSONL, cache=cache, limits=ImageLimits(max_bad_share=0.5))
    assert again.built.counts["known"] == 2
