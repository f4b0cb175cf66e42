from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from model.records import Box
from tasks.world.facts import check, claims, facts_of
from tasks.world.scene import make_scene
from tasks.world.testsets import write_coco, write_llava_bench


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    write_llava_bench(folder, 7, 12, 32)
    return folder


def test_each_image_has_a_question_of_each_category(bench: Path) -> None:
    questions = lines(bench / "questions.jsonl")
    assert [row["question_id"] for row in questions] == list(range(36))
    assert [row["category"] for row in questions] == ["conv", "detail", "complex"] * 12
    assert all(set(row) == {"question_id", "image", "text", "category"} for row in questions)
    assert all((bench / "images" / row["image"]).is_file() for row in questions)


def test_contexts_have_five_captions_and_boxes_of_three_decimals(bench: Path) -> None:
    contexts = lines(bench / "context.jsonl")
    asked = [row["image"] for row in lines(bench / "questions.jsonl")]
    assert [row["image"] for row in contexts] == list(dict.fromkeys(asked))
    for row in contexts:
        assert set(row) == {"id", "image", "captions", "instances"} and row["image"] == f"{row['id']}.jpg"
        assert len(row["captions"]) == 5
        corners = [value for instance in row["instances"] for value in instance["bbox"]]
        assert all(round(value, 3) == value and 0 <= value <= 1 for value in corners)


def test_every_claim_of_a_reference_is_true(bench: Path) -> None:
    contexts = {row["image"]: row for row in lines(bench / "context.jsonl")}
    references = {row["question_id"]: row for row in lines(bench / "answers_gpt4.jsonl")}
    for question in lines(bench / "questions.jsonl"):
        reference, context = references[question["question_id"]], contexts[question["image"]]
        boxes = [Box(category=row["category"], box=row["bbox"]) for row in context["instances"]]
        made = claims(reference["text"], question["text"])
        verdicts = [check(claim, facts_of(context["captions"], boxes)) for claim in made]
        assert reference["category"] == question["category"]
        assert made and all(verdicts), (question["text"], reference["text"], verdicts)


def test_coco_layout_says_what_the_scenes_hold(tmp_path: Path) -> None:
    write_coco(tmp_path, 7, "train", 5, 64)
    captions = json.loads((tmp_path / "annotations" / "captions.json").read_text(encoding="utf-8"))
    instances = json.loads((tmp_path / "annotations" / "instances.json").read_text(encoding="utf-8"))
    names = {row["id"]: row["name"] for row in instances["categories"]}
    assert names[1] == "red circle" and len({row["id"] for row in captions["annotations"]}) == 25
    for index, image in enumerate(captions["images"]):
        scene = make_scene(7, "train", index, "training")
        with Image.open(tmp_path / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (64, 64)
        rows = [row for row in instances["annotations"] if row["image_id"] == image["id"]]
        assert [names[row["category_id"]] for row in rows] == [" ".join(thing.pair) for thing in scene.things]
        for row, thing in zip(rows, scene.things, strict=True):
            x1, y1, x2, y2 = (64 * value for value in thing.box())
            assert row["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)


def test_equal_arguments_give_equal_bytes(bench: Path, tmp_path: Path) -> None:
    write_llava_bench(tmp_path, 7, 12, 32)
    files = sorted(path.relative_to(bench) for path in bench.rglob("*") if path.is_file())
    assert len(files) == 15
    assert all((bench / file).read_bytes() == (tmp_path / file).read_bytes() for file in files)
