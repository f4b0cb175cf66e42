"""A withdrawn image gets into no set, nor do samples that speak of it, and that is no bad input."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from configs.schema import ImageLimits, LlavaJsonSource
from tasks.image_files import withdrawn_from
from tests.unit.tasks.ingest.sets import JSONL, ingest, picture, write_jsonl

STRICT = ImageLimits(max_bad_share=0.0, max_bytes=100_000, max_pixels=100_000)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_withdrawn_image_is_quarantined_by_its_bytes_under_any_id(tmp_path: Path) -> None:
    pictures = {"a.png": picture(1), "b.png": picture(2), "c.png": picture(1)}
    rows = [{"id": name[0], "image": name, "captions": ["A thing."]} for name in pictures]
    root = write_jsonl(tmp_path / "data", rows, pictures)
    result = ingest(tmp_path / "out", root, JSONL, limits=STRICT, withdrawn={sha256(picture(1))})
    assert [image.id for image in result.images] == ["b"]
    assert result.reasons() == {"a": "withdrawn", "c": "withdrawn"}
    assert result.built.counts["withdrawn"] == 2
    assert withdrawn_from(result.folder) == {sha256(picture(1))}


def test_samples_that_speak_of_it_are_left_out_with_the_reason(tmp_path: Path) -> None:
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    rows = []
    for number in (1, 2):
        (images / f"{number}.png").write_bytes(picture(number))
        talk = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "That."}]
        rows.append({"id": f"talk-{number}", "image": f"{number}.png", "conversations": talk})
    (tmp_path / "data" / "chat.json").write_text(json.dumps(rows))
    source = LlavaJsonSource(kind="llava_json", root="data", file="chat.json", images="images", stage="instruct")
    result = ingest(tmp_path / "out", tmp_path / "data", source, limits=STRICT, withdrawn={sha256(picture(2))})
    assert result.reasons() == {"2": "withdrawn", "talk-2": "its image was withdrawn"}
    lines = (result.folder / "given" / "instruct.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["talk-1"]
