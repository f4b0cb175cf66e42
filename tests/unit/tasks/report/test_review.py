"""The review of the teacher's data: a few of each kind and reason, with images, and what the whole set is like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import JsonValue

from model.records import AnnotatedImage
from tasks.report.collect_review import ACCEPTED_SHOWN, REJECTED_SHOWN, read_review
from tasks.report.data_review import DataReview
from tasks.report.page import render_review
from tasks.world.render import jpeg
from tasks.world.scene import make_scene
from tests.fakes.image_sets import Made, write_image_set

COUNTS = {"samples": 30, "rejected": 10, "mended": 4, "asked": 50, "from_ledger": 7}
FACTS: dict[str, JsonValue] = {
    "teacher": "gpt-x", "faults_by_reason": {"leak": 9, "form": 5},
    "rejected_by_reason": {"leak": 9, "near duplicate": 1},
    "usd_spent": 1.5, "usd_saved": 0.25, "usd_per_accepted": 0.058,
    "unsupported_objects": {"detail": {"share": 0.25, "mean": 0.5, "top": {"giraffe": 5}}},
}


def images(folder: Path) -> list[AnnotatedImage]:
    scenes = [make_scene(1, "train", number, "training") for number in range(3)]
    return write_image_set(folder, [Made(scene.id, jpeg(scene), ("A circle.",)) for scene in scenes])


def write_set(folder: Path, known: list[AnnotatedImage]) -> None:
    folder.mkdir()
    samples = [
        {
            "id": f"{number:03d}", "image": known[number % 3].id, "kind": kind,
            "conversations": [
                {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": f"<b>Thing {number}</b>"}
            ],
        }
        for number, kind in enumerate(["detail"] * 20 + ["complex"] * 10)
    ]
    rejected = [
        {
            "id": f"r{number}", "image": known[0].id, "kind": "detail", "question": "What?", "reply": f"reply {number}",
            "reason": f"{reason}: told", "attempts": 2, "reasons": ["form: first", f"{reason}: told"],
        }
        for number, reason in enumerate(["leak"] * 9 + ["near duplicate"])
    ]
    kind = {"turns": 2, "mended": 0, "with_unsupported": 0, "unsupported": {}, "unsupported_total": 0}
    statistics = {
        "language": "en", "lengths": [5, 10], "objects": {"dog": 8, "cat": 3},
        "kinds": {
            "conversation": kind | {"samples": 0, "answer_words": [0, 0, 0], "question_types": {}},
            "detail": kind | {"samples": 20, "answer_words": [5, 15, 0], "question_types": {"what": 20}},
            "complex": kind | {"samples": 10, "answer_words": [10, 0, 0], "question_types": {"what": 4, "why": 6}},
        },
    }
    for name, rows in (("conversations", samples), ("rejected", rejected)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "statistics.json").write_text(json.dumps(statistics), "utf-8")


@pytest.fixture
def review(tmp_path: Path) -> DataReview:
    write_set(tmp_path / "conversations", images(tmp_path / "images"))
    return read_review(tmp_path / "conversations", tmp_path / "images", COUNTS, FACTS, "shapes", "run-1")


def test_groups_are_by_kind_and_reason_bounded_and_spread_over_the_set(review: DataReview) -> None:
    assert [(group.kind, group.total, len(group.shown)) for group in review.accepted] == [
        ("detail", 20, ACCEPTED_SHOWN), ("complex", 10, ACCEPTED_SHOWN),
    ]
    assert [(group.reason, group.total, len(group.shown)) for group in review.rejected] == [
        ("leak", 9, REJECTED_SHOWN), ("near duplicate", 1, 1),
    ]
    assert [sample.id for sample in review.accepted[0].shown][:3] == ["000", "002", "005"]
    assert review.rejected[0].shown[0].reasons == ("form: first", "leak: told")


def test_every_shown_sample_has_its_image(review: DataReview) -> None:
    shown = [sample for group in (*review.accepted, *review.rejected) for sample in group.shown]
    assert shown and all(sample.image for sample in shown)


def test_distributions_are_by_kind(review: DataReview) -> None:
    rows = {distribution.title: distribution.rows for distribution in review.distributions}
    assert rows["Length of answers"] == (("1 to 5", {"detail": 5, "complex": 10}), ("6 to 10", {"detail": 15}))
    assert rows["Types of questions"] == (("what", {"detail": 20, "complex": 4}), ("why", {"complex": 6}))
    assert rows["Objects"] == (("dog", {"all": 8}), ("cat", {"all": 3}))


def test_checks_count_replies_and_what_was_given_up(review: DataReview) -> None:
    assert [(check.name, check.replies, check.rejected) for check in review.checks] == [
        ("leak", 9, 9), ("form", 5, 0), ("near duplicate", 0, 1),
    ]


def test_the_page_holds_all_of_it_stands_alone_and_trusts_nobody(review: DataReview) -> None:
    page = render_review(review)
    assert page == render_review(review)
    assert "&lt;b&gt;Thing 0&lt;/b&gt;" in page and "<b>Thing" not in page
    for words in ("gpt-x", "giraffe 5", "25.0 %", "Near duplicate, detailed description", "reply 0", "$1.50"):
        assert words in page
    assert "http" not in page.replace("http-equiv", "") and "report.html" not in page
    assert page.count("<img ") == sum(len(group.shown) for group in (*review.accepted, *review.rejected))


def test_the_page_links_to_the_report_where_there_is_one(review: DataReview) -> None:
    assert 'href="report.html"' in render_review(review.model_copy(update={"report": "report.html"}))


def test_an_empty_set_is_a_page(tmp_path: Path) -> None:
    images(tmp_path / "images")
    (tmp_path / "conversations").mkdir()
    empty = read_review(tmp_path / "conversations", tmp_path / "images", {}, {}, "shapes", "run-1")
    assert "No teacher was asked" in render_review(empty)
