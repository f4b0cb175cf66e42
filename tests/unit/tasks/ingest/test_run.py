from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from configs.schema import DataConfig, ImageLimits, JsonlSource, NearDuplicates, ShapesSource
from tasks.errors import DataError, TooMuchBadInput
from tasks.image_files import ImageFiles
from tasks.ingest import documents
from tasks.ingest.places import Place
from tasks.ingest.run import build_image_set
from tasks.progress import Silent
from tasks.world.captions import captions
from tasks.world.scene import HELD_OUT, make_scene
from tests.unit.tasks.ingest.sets import COCO, JSONL, TOLERANT, CocoFiles, ingest, picture, result_of, write_jsonl


@pytest.fixture
def coco(tmp_path: Path) -> CocoFiles:
    return CocoFiles(tmp_path / "data")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Good input


def test_coco_becomes_an_image_set(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("b.png", picture(1), ["Two.", " One\nmore. "], [[4, 2, 16, 10], [0, 0, 40, 20]])
    coco.add("sub/a.jpg", picture(2, kind="JPEG"))
    result = ingest(tmp_path / "out", coco.write())
    assert [image.id for image in result.images] == ["b", "sub_a"]
    first = result.images[0]
    assert first.captions == ("Two.", "One more.") and (first.width, first.height) == (40, 20)
    assert [(box.category, box.box) for box in first.boxes] == [
        ("red circle", (0.1, 0.1, 0.5, 0.6)), ("red circle", (0.0, 0.0, 1.0, 1.0)),
    ]
    assert first.sha256 == hashlib.sha256(ImageFiles(result.folder).read(first)).hexdigest()
    assert result.built.counts == {
        "images": 2, "captioned": 2, "captions": 3, "boxes": 2, "quarantined": 0, "decoded": 2, "known": 0,
    }
    assert result.built.facts == {"source": "coco", "quarantine": {}}
    assert set(files(result.folder)) == {"annotations.jsonl", "quarantine.jsonl", "images/part-00000.tar"}


def test_crowd_rows_are_left_out(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("a.png", picture(), boxes=[[4, 2, 16, 10]])
    coco.instances.append({"image_id": 1, "category_id": 1, "bbox": [0, 0, 40, 20], "iscrowd": 1})
    assert [len(image.boxes) for image in ingest(tmp_path / "out", coco.write()).images] == [1]


def test_images_resized_since_they_were_annotated_keep_their_boxes(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("a.png", picture(size=(20, 10)), boxes=[[4, 2, 16, 10]], size=(40, 20))
    image = ingest(tmp_path / "out", coco.write()).images[0]
    assert (image.width, image.boxes[0].box) == (20, (0.1, 0.1, 0.5, 0.6))


def test_a_limit_takes_the_first_by_id(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(5)
    result = ingest(tmp_path / "out", coco.write(), COCO.model_copy(update={"limit": 2}))
    assert [image.id for image in result.images] == ["good0", "good1"] and not result.quarantine


def test_jsonl_becomes_an_image_set(tmp_path: Path) -> None:
    box = {"category": "cat", "box": [0.1, 0.2, 0.5, 0.6]}
    rows: list[dict[str, Any] | str] = [
        {"image": "b.png", "captions": ["A cat."], "boxes": [box]},
        "",
        {"image": "a.png", "captions": ["A dog."], "note": "more keys do no harm"},
    ]
    root = write_jsonl(tmp_path / "data", rows, {"a.png": picture(1), "b.png": picture(2)})
    result = ingest(tmp_path / "out", root, JSONL)
    assert [(image.id, len(image.boxes)) for image in result.images] == [("a", 0), ("b", 1)]
    assert result.images[1].boxes[0].box == (0.1, 0.2, 0.5, 0.6)
    assert result.built.facts["source"] == "jsonl"


def test_a_jsonl_limit_takes_the_first_lines(tmp_path: Path) -> None:
    rows = [{"image": f"{name}.png", "captions": ["A."]} for name in "cab"]
    root = write_jsonl(tmp_path / "data", rows, {f"{name}.png": picture(ord(name)) for name in "cab"})
    result = ingest(tmp_path / "out", root, JsonlSource(kind="jsonl", root="data", limit=2))
    assert [image.id for image in result.images] == ["a", "c"]


def test_equal_input_gives_equal_bytes(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(3)
    coco.add("broken.png", b"broken")
    root = coco.write()
    assert files(ingest(tmp_path / "one", root).folder) == files(ingest(tmp_path / "two", root).folder)


# Bad input


@pytest.mark.parametrize(("root", "named"), [(None, "data"), (Path("/no/where"), "/no/where")])
def test_a_missing_root_names_the_remedy(tmp_path: Path, root: Path | None, named: str) -> None:
    with pytest.raises(DataError, match=rf" {named}: .*--set data\.root=.*LLAVAFLOW_DATA_ROOT"):
        ingest(tmp_path / "out", root)


@pytest.mark.parametrize("name", ["captions.json", "instances.json"])
def test_an_annotation_file_that_is_not_json_names_file_and_element(
    coco: CocoFiles, tmp_path: Path, name: str
) -> None:
    coco.good(1)
    root = coco.write()
    (root / name).write_text('{"images": [],\n "categories": [], "annotations": [{}, {}, {]}', encoding="utf-8")
    where = rf"{name} is not JSON, broken at element 2 of its list annotations: .* at 59;"
    with pytest.raises(DataError, match=where):
        ingest(tmp_path / "out", root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "not an object"),
        (b"{}", "no list 'images'"),
        (b'{"images": []}', "no list 'annotations'"),
        (b"\x1f\x8b\x08\x00", "compressed"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
    ],
)
def test_a_captions_file_of_another_layout(coco: CocoFiles, tmp_path: Path, content: bytes, message: str) -> None:
    coco.good(1)
    root = coco.write()
    (root / "captions.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        ingest(tmp_path / "out", root)


@pytest.mark.parametrize("name", ["captions.json", "images"])
def test_missing_parts_of_the_source(coco: CocoFiles, tmp_path: Path, name: str) -> None:
    root = coco.write()
    (root / name).rename(root / "elsewhere")
    with pytest.raises(DataError, match=name):
        ingest(tmp_path / "out", root)


def test_every_kind_of_bad_record_is_quarantined_with_its_reason(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(2)
    coco.add("truncated.jpg", picture(3, (200, 200), kind="JPEG")[:500], size=(200, 200))
    coco.add("huge.png", picture(4, (400, 400)), size=(400, 400))
    coco.add("heavy.png", b"\0" * 100_001)
    coco.add("tiny.png", picture(5, (4, 2)))
    coco.add("missing.png", None)
    coco.add("mute.png", picture(6), captions=[" "])
    coco.add("outside.png", picture(7), boxes=[[30, 2, 30, 10]])
    coco.add("reversed.png", picture(8), boxes=[[30, 2, -10, 10]])
    coco.add("turned.png", picture(9, (20, 40)))
    coco.add("../escape.png", None)
    coco.add("good0.jpg", picture(10, kind="JPEG"))
    coco.captions.append({"image_id": 99, "caption": "Nowhere."})
    coco.instances.append({"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]})
    coco.captions.append({"image_id": 1})
    coco.instances.append({"image_id": 1, "category_id": 1, "bbox": [0, 0, 1]})
    result = ingest(tmp_path / "out", coco.write())
    assert [image.id for image in result.images] == ["good0", "good1"]
    assert result.reasons() == {
        "truncated": "unreadable image",
        "huge": "too many pixels",
        "heavy": "too many bytes",
        "tiny": "too small",
        "missing": "image file missing",
        "mute": "no captions",
        "outside": "box outside image",
        "reversed": "degenerate box",
        "turned": "size differs from its annotation",
        "___escape": "file name outside the data folder",
        "good0": "id already taken",
        "99": "annotation without its image",
        "captions.json: annotations[14]": "malformed entry",
        "instances.json: annotations[5]": "malformed entry",
    }
    assert result.built.counts["quarantined"] == 14
    assert result.built.facts["quarantine"] == {"malformed entry": 2} | dict.fromkeys(
        set(result.reasons().values()) - {"malformed entry"}, 1
    )
    with tarfile.open(result.folder / "images/part-00000.tar") as part:
        assert part.getnames() == ["good0.png", "good1.png"]
    assert all(set(row) == {"id", "reason", "detail"} and row["detail"] for row in result.quarantine)


def test_a_box_slightly_outside_is_clipped_not_quarantined(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("a.png", picture(), boxes=[[-1, 2, 11, 20]])
    result = ingest(tmp_path / "out", coco.write())
    assert result.images[0].boxes[0].box == (0.0, 0.1, 0.25, 1.0)


def test_duplicates_keep_the_first_id_and_do_not_count_as_bad(coco: CocoFiles, tmp_path: Path) -> None:
    for name in ("c.png", "a.png", "b.png"):
        coco.add(name, picture(1))
    result = ingest(tmp_path / "out", coco.write(), limits=ImageLimits(max_bad_share=0.0))
    assert [image.id for image in result.images] == ["a"]
    assert [(row["id"], row["reason"], row["detail"]) for row in result.quarantine] == [
        ("b", "duplicate", "same bytes as a"), ("c", "duplicate", "same bytes as a"),
    ]
    with tarfile.open(result.folder / "images/part-00000.tar") as part:
        assert part.getnames() == ["a.png"]


def test_a_duplicate_of_a_record_that_was_left_out_is_kept(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("a.png", picture(1), boxes=[[30, 2, 30, 10]])
    coco.add("b.png", picture(1))
    assert [image.id for image in ingest(tmp_path / "out", coco.write()).images] == ["b"]


def test_too_much_bad_input_stops_the_stage_with_the_reasons_in_one_line(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(7)
    coco.add("x.png", b"broken\n")
    coco.add("y.png", b"broken")
    coco.add("z.png", picture(1), captions=[])
    with pytest.raises(TooMuchBadInput) as caught:
        ingest(tmp_path / "out", coco.write(), limits=ImageLimits(max_bad_share=0.29))
    message = str(caught.value)
    assert "3 of 10" in message and "data.limits.max_bad_share" in message and "\n" not in message
    assert message.index("unreadable image (2, as x") < message.index("no captions (1, as z")


def test_the_limit_itself_is_allowed(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(9)
    coco.add("x.png", b"broken")
    assert len(ingest(tmp_path / "out", coco.write(), limits=ImageLimits(max_bad_share=0.1)).images) == 9


BOXED = '{"image": "a.png", "captions": ["A."], "boxes": [{"category": "c", "box": %s}]}'


def test_a_source_without_a_usable_image(coco: CocoFiles, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable image"):
        ingest(tmp_path / "out", coco.write())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ('{"image": "a.png", ', "malformed entry"),
        ("[1]", "malformed entry"),
        ('{"captions": ["A."]}', "malformed entry"),
        ('{"image": "a.png", "captions": "A."}', "malformed entry"),
        ('{"image": "a.png", "captions": [1]}', "malformed entry"),
        (BOXED % "[0, 0, 1]", "malformed entry"),
        (BOXED % "[0, 0, NaN, 1]", "malformed entry"),
        (BOXED % "[0, 0, 40, 20]", "box outside image"),
        (BOXED % "[0.5, 0, 0.2, 1]", "degenerate box"),
        ('{"image": "a.png"}', "no captions"),
        ('{"image": "../a.png", "captions": ["A."]}', "file name outside the data folder"),
        ('{"image": "gone.png", "captions": ["A."]}', "image file missing"),
    ],
)
def test_bad_jsonl_lines(tmp_path: Path, row: str, reason: str) -> None:
    root = write_jsonl(
        tmp_path / "data", [{"image": "b.png", "captions": ["B."]}, row], {"a.png": picture(1), "b.png": picture(2)}
    )
    result = ingest(tmp_path / "out", root, JSONL)
    assert [image.id for image in result.images] == ["b"]
    assert list(result.reasons().values()) == [reason]
    if reason == "malformed entry":
        assert "line 2" in result.quarantine[0]["id"]


def test_a_caption_that_is_too_long_is_quarantined_and_the_others_stay(coco: CocoFiles, tmp_path: Path) -> None:
    coco.add("a.png", picture(1), ["Short.", "x" * 100_000])
    coco.add("b.png", picture(2), ["x" * 100_000])
    limits = TOLERANT.model_copy(update={"max_caption": 99_999})
    result = ingest(tmp_path / "out", coco.write(), limits=limits)
    assert [(image.id, image.captions) for image in result.images] == [("a", ("Short.",))]
    assert sorted((row["id"], row["reason"]) for row in result.quarantine) == [
        ("a", "text too long"), ("b", "no captions"), ("b", "text too long"),
    ]
    assert "100000 characters, 99999 allowed" in result.quarantine[0]["detail"]


def test_control_characters_of_captions_and_categories_do_not_come_through(tmp_path: Path) -> None:
    text = '{"image": "a.png", "captions": ["A\\u0000 cat\\u001b[0m\\ud83d."], "boxes": [%s]}'
    box = '{"category": "c\\u0007at", "box": [0, 0, 1, 1]}'
    root = write_jsonl(tmp_path / "data", [text % box], {"a.png": picture(1)})
    image = ingest(tmp_path / "out", root, JSONL).images[0]
    assert image.captions == ("A cat[0m.",) and image.boxes[0].category == "cat"


def test_a_byte_order_mark_and_line_ends_of_windows_do_no_harm(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(2)
    root = coco.write()
    plain = files(ingest(tmp_path / "one", root).folder)
    for name in ("captions.json", "instances.json"):
        text = json.dumps(json.loads((root / name).read_text(encoding="utf-8")), indent=1)
        (root / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert files(ingest(tmp_path / "two", root).folder) == plain


def test_a_jsonl_file_of_windows_gives_what_a_plain_one_gives(tmp_path: Path) -> None:
    rows = [{"image": f"{name}.png", "captions": ["A."]} for name in "ab"]
    root = write_jsonl(tmp_path / "data", rows, {f"{name}.png": picture(ord(name)) for name in "ab"})
    plain = files(ingest(tmp_path / "one", root, JSONL).folder)
    text = (root / "annotations.jsonl").read_text(encoding="utf-8")
    (root / "annotations.jsonl").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert files(ingest(tmp_path / "two", root, JSONL).folder) == plain


def test_a_jsonl_file_without_line_ends_is_a_bad_line_not_a_full_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "LONGEST_LINE", 1000)
    good = {"image": "a.png", "captions": ["A."]}
    root = write_jsonl(tmp_path / "data", ["x" * 5000, good], {"a.png": picture(1)})
    result = ingest(tmp_path / "out", root, JSONL)
    assert [image.id for image in result.images] == ["a"]
    assert result.reasons() == {"annotations.jsonl: line 1": "malformed entry"}


def test_nothing_but_the_set_is_left_in_the_folder(coco: CocoFiles, tmp_path: Path) -> None:
    coco.good(1)
    assert not [name for name in files(ingest(tmp_path / "out", coco.write()).folder) if name.startswith(".")]


# Shapes


SHAPES = ShapesSource(kind="shapes", train_scenes=12, scienceqa_train=10, scienceqa_test=10, bench_images=2)


def test_shapes_become_an_image_set_with_benchmarks(tmp_path: Path) -> None:
    built = build_image_set(tmp_path, DataConfig(source=SHAPES, near_duplicates=None), [None], Silent())
    result = result_of(tmp_path, built)
    scenes = [make_scene(7, "train", index, "training") for index in range(12)]
    assert [image.id for image in result.images] == [scene.id for scene in scenes]
    for image, scene in zip(result.images, scenes, strict=True):
        assert image.captions == captions(scene)
        assert [box.category for box in image.boxes] == [" ".join(thing.pair) for thing in scene.things]
        for box, thing in zip(image.boxes, scene.things, strict=True):
            assert box.box == pytest.approx(thing.box(), abs=2e-4)
    test_images = built.counts["test_images"]
    assert 2 < test_images <= 12
    assert built.counts == {
        "images": 12, "captioned": 12, "captions": 60, "boxes": sum(len(scene.things) for scene in scenes),
        "quarantined": 0, "decoded": 12, "known": 0, "test_images": test_images, "scienceqa_train": 10,
        "scienceqa_test": 10, "bench_images": 2,
    }
    assert built.facts == {
        "source": "shapes", "seed": 7, "held_out": [" ".join(pair) for pair in HELD_OUT], "quarantine": {},
    }
    written = files(tmp_path)
    assert {path.split("/")[0] for path in written} == {"annotations.jsonl", "quarantine.jsonl", "images", "benchmarks"}
    assert len(json.loads(written["benchmarks/scienceqa/problems.json"])) == 20
    assert len(written["benchmarks/llava_bench/questions.jsonl"].splitlines()) == 6


def test_a_pope_set_comes_with_the_shapes_on_demand(tmp_path: Path) -> None:
    for pope_images in (0, 3):
        folder = tmp_path / str(pope_images)
        folder.mkdir()
        source = SHAPES.model_copy(update={"pope_images": pope_images})
        build_image_set(folder, DataConfig(source=source, near_duplicates=None), [None], Silent())
        assert len(list((folder / "benchmarks").glob("pope/images/*.jpg"))) == pope_images


def test_shapes_give_the_same_bytes_again_and_others_by_another_seed(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 7), ("other", 8)):
        (tmp_path / name).mkdir()
        source = SHAPES.model_copy(update={"seed": seed})
        config = DataConfig(source=source, limits=TOLERANT, near_duplicates=None)
        build_image_set(tmp_path / name, config, [None], Silent())
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert files(tmp_path / "one")["annotations.jsonl"] != files(tmp_path / "other")["annotations.jsonl"]


def test_shapes_may_be_joined_by_another_source(tmp_path: Path) -> None:
    root = write_jsonl(tmp_path / "data", [{"image": "a.png", "captions": ["A."]}], {"a.png": picture(1)})
    (tmp_path / "out").mkdir()
    config = DataConfig(source=SHAPES, also=(JSONL,), near_duplicates=None)
    built = build_image_set(tmp_path / "out", config, [None, Place(str(root))], Silent())
    result = result_of(tmp_path / "out", built)
    assert len(result.images) == 13 and result.images[0].id == "a"
    assert built.facts["also"] == ["jsonl"] and not (tmp_path / "out" / ".rendered").exists()


# Real photos


@pytest.mark.parametrize(("split", "images", "boxes"), [("train2017", 80, 731), ("val2017", 204, 1493)])
def test_real_coco_photos(tmp_path: Path, shared_data: Path, split: str, images: int, boxes: int) -> None:
    root = shared_data / "coco_small"
    source = COCO.model_copy(
        update={
            "captions": f"annotations/captions_{split}.json",
            "instances": f"annotations/instances_{split}.json",
            "images": f"images/{split}",
        }
    )
    result = ingest(tmp_path / "out", root, source, limits=ImageLimits(max_bad_share=0.0), near=NearDuplicates())
    assert (result.built.counts["images"], result.built.counts["boxes"]) == (images, boxes)
    lines = (root / "annotations" / f"caps_boxes_{split}.jsonl").read_text(encoding="utf-8").splitlines()
    derived = {row["id"]: row for row in map(json.loads, lines)}
    for image in result.images:
        row = derived[image.id]
        assert image.captions == tuple(" ".join(caption.split()) for caption in row["captions"])
        assert [box.category for box in image.boxes] == [instance["category"] for instance in row["instances"]]
        for box, instance in zip(image.boxes, row["instances"], strict=True):
            assert box.box == pytest.approx(instance["bbox"], abs=0.0011)
