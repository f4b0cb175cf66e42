"""Captions held against boxes: what counts as named, both CHAIR figures, the blind model beside, and bad files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from configs.schema import CaptionsConfig, EvaluateConfig
from tasks.errors import ConfigError, DataError
from tasks.evaluate.benchmark import Bootstrap, read_answers
from tasks.evaluate.captions import Captions
from tasks.evaluate.objects import categories, named_in
from tasks.evaluate.report import read_examples, read_report
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tests.fakes.models import Model
from tests.unit.tasks.evaluate.sets import write_image, write_json

CATEGORIES = {1: "person", 18: "dog", 62: "chair", 58: "hot dog"}
BOXES = {1: [1, 18], 2: [18, 62], 3: [58], 4: []}
"""Categories of the boxes of each photo; the last one has none."""


def document() -> dict[str, JsonValue]:
    return {
        # Not in the order of their ids, as in COCO's own files.
        "images": [{"id": number, "file_name": f"{number:03}.jpg"} for number in sorted(BOXES, reverse=True)],
        "categories": [{"id": number, "name": name} for number, name in CATEGORIES.items()],
        "annotations": [
            {"image_id": image, "category_id": category} for image, of in BOXES.items() for category in of
        ],
    }


def photos(folder: Path, changed: dict[str, JsonValue] | None = None) -> Path:
    write_json(folder / "annotations" / "instances_val2017.json", document() | (changed or {}))
    for number in BOXES:
        write_image(folder / "images" / "val2017" / f"{number:03}.jpg")
    return folder


def load(root: Path, **changes: object) -> Captions:
    return Captions.load(root, CaptionsConfig.model_validate(changes), Bootstrap(resamples=200))


@pytest.mark.parametrize(
    ("caption", "names"),
    [
        ("Two puppies and a man sit on benches.", ["dog", "person", "bench"]),
        ("A hot dog on a plate", ["hot dog"]),
        ("A man holds a tennis racket next to a man", ["person", "tennis racket", "person"]),
        ("A roll of toilet paper", []),
        ("Green grass under a blue sky", []),
        ("The PLANE, a jet.", ["airplane", "airplane"]),
    ],
)
def test_a_caption_names_what_its_words_and_synonyms_say(caption: str, names: list[str]) -> None:
    assert named_in(caption) == names


def test_the_list_knows_all_80_categories() -> None:
    assert len(categories()) == 80
    assert all(named_in(f"a {category}") == [category] for category in sorted(categories()))


def test_figures_are_those_of_the_definition(tmp_path: Path) -> None:
    captions = load(photos(tmp_path))
    # The photo without boxes is no question; the others are asked in the order of their ids.
    assert [(one.id, one.correct) for one in captions.questions] == [
        ("001", "dog, person"), ("002", "chair, dog"), ("003", "hot dog"),
    ]
    seen = read_answers(captions, ["A man and a cat.", "A dog on a chair.", "A nice day."])
    blind = read_answers(captions, ["A man.", "A man.", "A man."])
    report = captions.score(seen, blind)
    assert [seen[name].outcome for name in ("001", "002", "003")] == ["right", "right", "wrong"]
    assert seen["003"].reason == "names no object of COCO's categories"
    figures = {name: score.value for name, score in report.measures.items()}
    assert report.rows["all"].value == pytest.approx(200 / 3, abs=1e-5)
    assert report.rows["all"].blind == pytest.approx(100 / 3, abs=1e-5)
    assert report.rows["with_people"].n == 1
    assert report.rows["without_people"].value == 50.0
    assert figures["all/chair_s"] == pytest.approx(100 / 3, abs=1e-5)  # the cat
    assert figures["all/chair_i"] == 25.0  # of man, cat, dog, chair
    assert figures["all/recall"] == 60.0  # of person and dog, dog and chair, hot dog
    assert figures["all/always_dog"] == pytest.approx(200 / 3, abs=1e-5)
    assert figures["blind/chair_s"] == pytest.approx(200 / 3, abs=1e-5)
    assert figures["all/sighted_less_blind"] == pytest.approx(100 / 3, abs=1e-5)
    assert figures["without_people/sighted_less_blind"] == 50.0
    assert report.counts == {"questions": 3, "naming nothing": 1}
    assert "1 captions name an object" in report.notes[0]


def test_the_stage_asks_with_and_without_the_photo(tmp_path: Path) -> None:
    root = photos(tmp_path / "coco")
    (tmp_path / "out").mkdir()
    model = Model(lambda prompt: "a dog" if prompt.image else "a zebra")
    config = EvaluateConfig(captions=CaptionsConfig(prompt="What is it?"), bootstrap=200)
    build_evaluation(tmp_path / "out", {"captions": root}, config, model, None, 0, Silent())
    report = read_report(tmp_path / "out").benchmarks["captions"]
    assert (report.rows["all"].right, report.rows["all"].blind) == (2, 0.0)
    assert report.rows["all"].random is None
    example = read_examples(tmp_path / "out", "captions")[0]
    assert (example.prompt, example.correct, example.sighted.choice) == ("<image>\nWhat is it?", "dog, person", "dog")


def test_photos_that_are_trained_on_can_be_left_out(tmp_path: Path) -> None:
    root = photos(tmp_path)
    assert [one.id for one in load(root, skip=1).questions] == ["002", "003"]
    assert [one.id for one in load(root, skip=1, limit=1).questions] == ["002"]
    with pytest.raises(DataError, match="no photo with a box is left"):
        load(root, skip=3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"categories": [{"id": 1, "name": "unicorn"}]}, "not COCO's: unicorn"),
        ({"annotations": [{"image_id": "one", "category_id": 1}]}, r"annotations\.0\.image_id"),
        ({"images": {}}, "is not COCO's instances file"),
    ],
)
def test_a_file_of_another_layout_is_named(tmp_path: Path, changed: dict[str, JsonValue], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(photos(tmp_path, changed))


def test_a_photo_that_is_missing_or_unreadable_is_named(tmp_path: Path) -> None:
    root = photos(tmp_path)
    (root / "images" / "val2017" / "002.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"002\.jpg of question 002 cannot be read"):
        load(root)
    (root / "images" / "val2017" / "002.jpg").unlink()
    with pytest.raises(DataError, match=r"002\.jpg is not there"):
        load(root)
    with pytest.raises(ConfigError, match=r"evaluate\.captions has no root"):
        build_evaluation(tmp_path, {}, EvaluateConfig(captions=CaptionsConfig()), Model(str), None, 0, Silent())


def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path: Path) -> None:
    root = photos(tmp_path)
    path = root / "annotations" / "instances_val2017.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document(), indent=1).replace("\n", "\r\n").encode())
    assert len(load(root).questions) == 3
