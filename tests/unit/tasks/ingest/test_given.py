"""Sources that bring samples and questions: the official LLaVA JSON and ScienceQA's layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.schema import ImageLimits, JsonlSource, LlavaBenchSource, LlavaJsonSource, ScienceQASource
from model.records import Sample
from tasks.errors import DataError
from tests.fakes.progress import Noted
from tests.unit.tasks.ingest.sets import Result, ingest, picture, scene, write_jsonl

INSTRUCT = LlavaJsonSource(kind="llava_json", root="data", file="chat.json", stage="instruct")
WIDE = ImageLimits(max_bad_share=1.0)
QUESTIONS = ScienceQASource(kind="scienceqa", root="data")


def turns(*texts: str) -> list[dict[str, str]]:
    return [{"from": "gpt" if place % 2 else "human", "value": text} for place, text in enumerate(texts)]


def row(name: object, image: str | None = "a.png", *texts: str) -> dict[str, Any]:
    said = turns(*(texts or ("<image>\nWhat?" if image else "What?", "That.")))
    return {"id": name, "conversations": said} | ({"image": image} if image else {})


def write(root: Path, rows: Any, images: dict[str, bytes] | None = None, file: str = "chat.json") -> Path:
    for name, data in (images if images is not None else {"a.png": picture(1)}).items():
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (root / "images").mkdir(parents=True, exist_ok=True)
    text = rows if isinstance(rows, str) else json.dumps(rows)
    (root / file).write_text(text, encoding="utf-8")
    return root


def samples(result: Result, stage: str = "instruct") -> dict[str, Sample]:
    lines = (result.folder / "given" / f"{stage}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [Sample.model_validate_json(line) for line in lines]
    assert [sample.id for sample in found] == sorted(sample.id for sample in found)
    assert all(sample.kind == "given" for sample in found)
    return {sample.id: sample for sample in found}


def said(sample: Sample) -> list[str]:
    return [turn.text for turn in sample.conversations]


# LLaVA JSON


def test_given_samples_are_kept_as_they_are(tmp_path: Path) -> None:
    rows = [row("b", "sub/a.png", "<image>\nWhat? ", " It\nis \u732b.", "And?", "No."), row("a", None, "Hi", "Ho")]
    result = ingest(tmp_path / "out", write(tmp_path / "data", rows, {"sub/a.png": picture(1)}), INSTRUCT)
    found = samples(result)
    assert said(found["b"]) == ["<image>\nWhat? ", " It\nis \u732b.", "And?", "No."] and found["b"].image == "sub_a"
    assert said(found["a"]) == ["Hi", "Ho"] and found["a"].image is None
    assert [image.id for image in result.images] == ["sub_a"] and result.images[0].captions == ()
    counts = result.built.counts
    assert (counts["given_instruct"], counts["given_without_image"], counts["quarantined"]) == (2, 1, 0)
    assert not (result.folder / "questions.jsonl").exists() and not (result.folder / "given" / "align.jsonl").exists()


@pytest.mark.parametrize(
    ("first", "second"),
    [("What?\n<image>", "More?"), ("What?", "<image> More?"), ("<image>\nWhat?\n<image>", "More?"), ("What?", "More?")],
)
def test_the_image_token_goes_to_the_start_and_is_counted(tmp_path: Path, first: str, second: str) -> None:
    root = write(tmp_path / "data", [row("a", "a.png", first, "Yes.", second, "No.")])
    result = ingest(tmp_path / "out", root, INSTRUCT)
    assert said(samples(result)["a"]) == ["<image>\nWhat?", "Yes.", "More?", "No."]
    assert result.built.counts["given_moved_tokens"] == 1


def test_equal_ids_are_made_unique_the_same_way_each_time(tmp_path: Path) -> None:
    rows = [row(name, "a.png", "<image>\nQ", text) for name, text in zip(["a", "a", "a", "a-2"], "1234", strict=True)]
    root = write(tmp_path / "data", rows)
    found = samples(ingest(tmp_path / "out", root, INSTRUCT))
    assert {name: said(sample)[1] for name, sample in found.items()} == {"a": "1", "a-2": "2", "a-3": "3", "a-2-2": "4"}


def test_samples_share_an_image_and_equal_files_are_one(tmp_path: Path) -> None:
    rows = [row("1", "a.png"), row("2", "a.png"), row("3", "b.png")]
    root = write(tmp_path / "data", rows, {"a.png": picture(1), "b.png": picture(1)})
    result = ingest(tmp_path / "out", root, INSTRUCT)
    assert [sample.image for sample in samples(result).values()] == ["a", "a", "a"]
    assert len(result.images) == 1 and result.reasons() == {"b": "duplicate"}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row("x", "a.png", "<image>\nQ", "A", "Q"), "broken turn order"),
        ({"id": "x", "image": "a.png", "conversations": turns("<image>\nQ", "A")[::-1]}, "broken turn order"),
        ({"id": "x", "conversations": [{"from": "system", "value": "S"}, *turns("Q", "A")]}, "broken turn order"),
        (row("x", None, "<image>\nQ", "A"), "image token without an image"),
        (row("x", "a.png", "<image>\nQ", " "), "malformed entry"),
        (row("x", "a.png", "<image>\nQ", "A" * 100_001), "text too long"),
        ({"id": "x"}, "malformed entry"),
        ({"conversations": turns("Q", "A")}, "malformed entry"),
        ({"id": "x", "conversations": [1]}, "malformed entry"),
        ({"id": "x", "image": ["a.png", 1], "conversations": turns("Q", "A")}, "malformed entry"),
        ({"id": "x", "image": [], "conversations": turns("Q", "A")}, "malformed entry"),
        (
            {"id": "x", "image": ["a.png"] * 2, "conversations": turns("<image>\nQ", "A")},
            "image tokens do not fit the images",
        ),
        (
            {"id": "x", "image": ["a.png", "../b.png"], "conversations": turns("Q", "A")},
            "file name outside the data folder",
        ),
        (7, "malformed entry"),
        (row("x", "../a.png"), "file name outside the data folder"),
    ],
)
def test_what_makes_no_sample_is_quarantined_with_its_place(tmp_path: Path, bad: Any, reason: str) -> None:
    result = ingest(tmp_path / "out", write(tmp_path / "data", [row("1"), bad, row("2")]), INSTRUCT)
    assert list(samples(result)) == ["1", "2"]
    assert [line["reason"] for line in result.quarantine] == [reason]
    assert "[1]" in result.quarantine[0]["id"] or "outside" in reason


def test_samples_of_an_image_that_is_left_out_are_left_out_with_it(tmp_path: Path) -> None:
    rows = [row("1"), row("2", "gone.png"), row("3", "bad.png")]
    root = write(tmp_path / "data", rows, {"a.png": picture(), "bad.png": b"x"})
    result = ingest(tmp_path / "out", root, INSTRUCT)
    assert list(samples(result)) == ["1"]
    assert result.reasons() == {
        "gone": "image file missing", "bad": "unreadable image", "2": "its image was left out",
        "3": "its image was left out",
    }


def test_a_sample_of_several_images_keeps_their_order_and_places(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "image": ["b.png", "a.png"], "conversations": turns("First <image>, then <image>.", "So.")},
        {"id": "2", "image": ["a.png", "b.png", "a.png"], "conversations": turns("Compare.", "So.")},
        {"id": "3", "image": ["a.png"], "conversations": turns("What? <image>", "So.")},
        {"id": "4", "image": ["a.png", "gone.png"], "conversations": turns("<image>", "So.", "<image>", "So.")},
    ]
    root = write(tmp_path / "data", rows, {"a.png": picture(1), "b.png": picture(2)})
    result = ingest(tmp_path / "out", root, INSTRUCT, limits=WIDE)
    found = samples(result)
    assert {name: sample.images for name, sample in found.items()} == {
        "1": ("b", "a"), "2": ("a", "b", "a"), "3": ("a",),
    }
    assert said(found["1"])[0] == "First <image>, then <image>."
    assert said(found["2"])[0] == "<image>\n<image>\n<image>\nCompare."
    assert result.reasons() == {"gone": "image file missing", "4": "its image was left out"}


def test_control_characters_and_half_characters_do_not_come_through(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [row("a\x07", None, "Q\x00\ud83d", "A\r\nB")])
    assert said(samples(ingest(tmp_path / "out", root, INSTRUCT))["a_"]) == ["Q?", "A\nB"]  # ijson's own mark


def test_a_limit_takes_the_first_samples_and_their_images_alone(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [row("2"), row("1", "b.png")], {"a.png": picture(1), "b.png": picture(2)})
    result = ingest(tmp_path / "out", root, INSTRUCT.model_copy(update={"limit": 1}))
    assert list(samples(result)) == ["2"] and [image.id for image in result.images] == ["a"]


def test_lines_are_read_as_well_as_a_list(tmp_path: Path) -> None:
    text = "\ufeff" + json.dumps(row("1")) + "\r\n\r\n{broken\r\n" + json.dumps(row("2"))
    root = write(tmp_path / "data", text, file="chat.jsonl")
    result = ingest(tmp_path / "out", root, INSTRUCT.model_copy(update={"file": "chat.jsonl"}))
    assert list(samples(result)) == ["1", "2"] and result.reasons() == {"chat.jsonl: line 3": "malformed entry"}


def test_a_list_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    root = write(tmp_path / "data", "\ufeff" + json.dumps([row("1")], indent=1).replace("\n", "\r\n"))
    assert list(samples(ingest(tmp_path / "out", root, INSTRUCT))) == ["1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps([row("1"), row("2")])[:-20], "broken at element 1 of its list"),
        ('[{"id": "1"}, {"id": tru}]', "broken at element 1 of its list"),
        ('{"id": 1}', "is not a list"),
        ("", "is empty"),
    ],
)
def test_a_broken_list_is_an_error_that_names_the_element(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "out", write(tmp_path / "data", text), INSTRUCT)


def test_another_number_of_samples_than_expected_is_said(tmp_path: Path) -> None:
    root, progress = write(tmp_path / "data", [row("1"), row("2")]), Noted()
    ingest(tmp_path / "one", root, INSTRUCT.model_copy(update={"expected": 2}), progress=progress)
    assert progress.notes == []
    ingest(tmp_path / "two", root, INSTRUCT.model_copy(update={"expected": 3}), progress=progress)
    assert progress.notes == ["chat.json holds 2 records, not the 3 that the experiment expects"]


def test_text_only_samples_need_no_image_at_all(tmp_path: Path) -> None:
    result = ingest(tmp_path / "out", write(tmp_path / "data", [row("1", None)], {}), INSTRUCT)
    assert len(samples(result)) == 1 and result.images == []


# Several sources


def test_sources_join_and_each_stage_has_its_samples(tmp_path: Path) -> None:
    root = write(tmp_path / "data", [row("s", "b.png")], {"b.png": picture(2)})
    write(root, [row("s", "c.png", "<image>", "Brief.")], {"c.png": picture(3)}, "align.json")
    write_jsonl(root / "captions", [{"image": "d.png", "captions": ["D."]}], {"d.png": picture(4)})
    align = INSTRUCT.model_copy(update={"file": "align.json", "stage": "align"})
    result = ingest(tmp_path / "out", root, jsonl("captions"), align, INSTRUCT)
    assert [image.id for image in result.images] == ["b", "c", "d"]
    assert samples(result, "align")["s"].image == "c" and samples(result)["s"].image == "b"
    assert result.built.facts["also"] == ["llava_json", "llava_json"]
    assert result.built.counts["captioned"] == 1


def jsonl(folder: str) -> JsonlSource:
    return JsonlSource(kind="jsonl", root="data", annotations=f"{folder}/annotations.jsonl", images=f"{folder}/images")


def test_an_image_that_two_sources_hold_is_one_with_the_captions_of_both(tmp_path: Path) -> None:
    for folder, caption in (("one", "A."), ("two", "B."), ("three", "A.")):
        write_jsonl(tmp_path / "data" / folder, [{"image": "x.png", "captions": [caption]}], {"x.png": picture(1)})
    result = ingest(tmp_path / "out", tmp_path / "data", jsonl("one"), jsonl("two"), jsonl("three"))
    assert [(image.id, image.captions) for image in result.images] == [("x", ("A.", "B."))]
    assert result.built.counts["joined"] == 2 and not result.quarantine


def test_another_image_of_the_same_id_gets_a_number_that_nobody_has(tmp_path: Path) -> None:
    names = {"one": ("x.png", "x-2.png", "x-.png"), "two": ("x.png",), "three": ("x.png", "x0.png")}
    number = 0
    for folder, files in names.items():
        rows = [{"image": name, "captions": [f"{folder} {name}"]} for name in files]
        images = {name: picture(number + place) for place, name in enumerate(files)}
        write_jsonl(tmp_path / "data" / folder, rows, images)
        number += len(files)
    result = ingest(tmp_path / "out", tmp_path / "data", *map(jsonl, names))
    assert {image.id: image.captions[0] for image in result.images} == {
        "x": "one x.png", "x-": "one x-.png", "x-2": "one x-2.png", "x-3": "two x.png", "x-4": "three x.png",
        "x0": "three x0.png",
    }
    assert [image.id for image in result.images] == sorted(image.id for image in result.images)
    assert result.built.counts["renamed"] == 2


def test_a_sample_names_its_image_by_the_id_that_it_got(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "data" / "one", [{"image": "a.png", "captions": ["A."]}], {"a.png": picture(9)})
    root = write(tmp_path / "data", [row("s")])
    assert samples(ingest(tmp_path / "out", root, jsonl("one"), INSTRUCT))["s"].image == "a-2"


# ScienceQA


PROBLEM = {"question": "Q?", "choices": ["a", "b"], "answer": 1, "hint": "", "image": None, "unknown field": 3}


def science(root: Path, problems: dict[str, Any], split: list[str], images: dict[str, bytes]) -> Path:
    write(root, problems, images, "problems.json")
    (root / "pid_splits.json").write_text(json.dumps({"train": split, "test": ["9"]}), encoding="utf-8")
    return root


def questions(result: Result) -> dict[str, Any]:
    lines = (result.folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return {found["id"]: found for found in map(json.loads, lines)}


def test_questions_of_the_split_come_with_their_images(tmp_path: Path) -> None:
    pictured = PROBLEM | {"image": "image.png"}
    problems = {"10": PROBLEM, "2": pictured, "3": pictured, "9": pictured}
    images = {"train/2/image.png": picture(2), "3/image.png": picture(3), "test/9/image.png": picture(9)}
    root = science(tmp_path / "data", problems, ["2", "3", "10"], images)
    found = questions(ingest(tmp_path / "out", root, QUESTIONS))
    assert {name: question["image"] for name, question in found.items()} == {
        "10": None, "2": "train_2_image", "3": "3_image",
    }
    assert list(found) == sorted(found) and found["2"]["problem"]["choices"] == ["a", "b"]
    assert set(found["2"]) == {"id", "image", "problem"} and "unknown field" not in found["2"]["problem"]


def test_questions_that_are_none_are_quarantined(tmp_path: Path) -> None:
    problems: dict[str, Any] = {
        "1": PROBLEM, "2": PROBLEM | {"answer": 2}, "3": {"question": "Q?"}, "4": 5, "5": PROBLEM | {"image": "i.png"},
    }
    result = ingest(tmp_path / "out", science(tmp_path / "data", problems, list("123456"), {}), QUESTIONS)
    assert list(questions(result)) == ["1"]
    assert result.reasons() == {
        **{f"problems.json: {pid}": "malformed entry" for pid in "2346"}, "train_5_i": "image file missing",
        "5": "its image was left out",
    }


def test_a_split_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    root = science(tmp_path / "data", {"1": PROBLEM}, ["1"], {})
    with pytest.raises(DataError, match="no list 'val'"):
        ingest(tmp_path / "out", root, QUESTIONS.model_copy(update={"split": "val"}))


def test_the_real_questions_of_scienceqa_and_the_images_of_its_test_split(tmp_path: Path, shared_data: Path) -> None:
    source = ScienceQASource(
        kind="scienceqa", root="scienceqa", problems="problems_test_reconstructed.json", images="images_test",
        split="test",
    )
    result = ingest(tmp_path / "out", shared_data / "scienceqa", source, limits=WIDE)
    counts = result.built.counts
    with_image = sum(question["image"] is not None for question in questions(result).values())
    duplicates = sum(reason == "duplicate" for reason in result.reasons().values())
    # Of 2,017 images of the split 167 are in the set; the questions of the others are left out with them.
    assert counts["questions"] == 4241 - 2017 + 167 and with_image == 167
    assert counts["images"] + duplicates == 167


# LLaVA-Bench


def test_a_bench_s_images_come_with_its_captions_and_boxes(tmp_path: Path) -> None:
    context = [
        {"image": "a.png", "captions": ["A.", "B."], "instances": [{"category": "c", "bbox": [0, 0, 0.5, 1]}]},
        {"id": "2", "image": "b.png", "caption": "One description."},
        {"id": "3", "image": "b.png", "instances": 5},
    ]
    images = {"a.png": scene(1), "b.png": scene(2)}
    root = write(tmp_path / "data", "\n".join(map(json.dumps, context)), images, "context.jsonl")
    result = ingest(tmp_path / "out", root, LlavaBenchSource(kind="llava_bench", root="data"))
    assert [(image.id, image.captions, len(image.boxes)) for image in result.images] == [
        ("a", ("A.", "B."), 1), ("b", ("One description.",), 0),
    ]
    assert result.reasons() == {"context.jsonl: line 3": "malformed entry"}


def test_the_real_images_of_llava_bench_in_the_wild(tmp_path: Path, shared_data: Path) -> None:
    source = LlavaBenchSource(kind="llava_bench", root="llava_bench_wild")
    result = ingest(tmp_path / "out", shared_data / "llava_bench_wild", source, limits=WIDE)
    assert (len(result.images), result.quarantine) == (24, [])
