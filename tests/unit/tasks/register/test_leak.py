"""An image that was trained on and asked about is found by its bytes, whatever it is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tasks.register.leak import overlap
from tasks.shards import IndexEntry, index_file


def shards(folder: Path, align: list[bytes | None], instruct: list[bytes | None]) -> Path:
    (folder / "index").mkdir(parents=True)
    for stage, images in (("align", align), ("instruct", instruct)):
        members = [None if image is None else (0, len(image), hashlib.sha256(image).hexdigest()) for image in images]
        lines = [
            IndexEntry(key=str(number), shard="x.tar", record=(0, 1, "r"), image=member).line()
            for number, member in enumerate(members)
        ]
        index_file(folder, stage).write_text("".join(f"{line}\n" for line in lines))
    return folder


def asked(folder: Path, images: dict[str, bytes]) -> Path:
    for name, image in images.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(image)
    return folder


def test_images_of_either_stage_are_found_in_any_benchmark_and_counted_once(tmp_path: Path) -> None:
    learnt = shards(tmp_path / "shards", [b"cat", b"dog", None], [b"dog", b"cow"])
    examined = asked(tmp_path / "e", {"scienceqa/1.png": b"dog", "bench/7.jpg": b"cow", "bench/8.jpg": b"ox"})
    assert overlap(learnt, examined) == 2
    assert overlap(shards(tmp_path / "others", [b"hen"], [None]), examined) == 0


def test_without_images_nobody_can_tell(tmp_path: Path) -> None:
    assert overlap(shards(tmp_path / "shards", [b"cat"], []), tmp_path) is None


def test_further_images_of_a_sample_and_mixed_shard_sets_count_too(tmp_path: Path) -> None:
    def member(image: bytes) -> tuple[int, int, str]:
        return 0, len(image), hashlib.sha256(image).hexdigest()

    both = shards(tmp_path / "both", [], [])
    entry = IndexEntry(key="1", shard="x.tar", record=(0, 1, "r"), image=member(b"hen"), more=(member(b"cow"),))
    index_file(both, "instruct").write_text(f"{entry.line()}\n")
    examined = asked(tmp_path / "e", {"bench/1.jpg": b"cow", "bench/2.jpg": b"dog"})
    assert overlap(both, examined) == 1
    assert overlap(both, examined, [shards(tmp_path / "mixed", [None], [b"dog"])]) == 2
