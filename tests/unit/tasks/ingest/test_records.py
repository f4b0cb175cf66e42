from __future__ import annotations

import pytest

from tasks.ingest.records import LONGEST_ID, id_of, is_inside, sample_id_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("000000000790.jpg", "000000000790"),
        ("COCO_val2014_000000441147.jpg", "COCO_val2014_000000441147"),
        ("day 1/cat.and.dog.png", "day_1_cat_and_dog"),
        ("noextension", "noextension"),
        ("../x.jpg", "___x"),
    ],
)
def test_ids_are_fit_for_file_names_and_tar_members(name: str, expected: str) -> None:
    assert id_of(name) == expected


def test_long_names_give_differing_ids_of_bounded_length() -> None:
    first, second = (id_of(f"{'a' * 300}{end}.jpg") for end in "12")
    assert len(first) == len(second) == LONGEST_ID and first != second


@pytest.mark.parametrize("name", ["a.jpg", "b/a.jpg", "..a.jpg", "a..jpg"])
def test_names_below_the_folder(name: str) -> None:
    assert is_inside(name)


@pytest.mark.parametrize(
    "name", ["../a.jpg", "b/../../a.jpg", "/etc/passwd", "..\\a.jpg", "a\0.jpg", "a\ud800.jpg", ".", ""]
)
def test_names_that_leave_the_folder(name: str) -> None:
    assert not is_inside(name)


def test_a_sample_s_id_keeps_what_looks_like_a_suffix() -> None:
    assert sample_id_of("v1.5/a b") == "v1_5_a_b"
