from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import DataError, EnvironmentProblem
from tasks.feedback.page import page
from tasks.feedback.reviewing import Reviewer, accept, lines, reject
from tasks.feedback.store import FeedbackStore
from tasks.feedback.tables import Database
from tests.unit.tasks.feedback.items import fresh_store, item, pixels, talk

BO = Reviewer("bo", "2026-11-22T14:00:00+00:00")
WHY = Reviewer("bo", "2026-11-22T14:00:00+00:00", "looked at it")


def test_what_is_added_is_there_for_another_connection(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/feedback.db"
    FeedbackStore(Database(url)).add(item("a"), [pixels("cat")])
    again = FeedbackStore(Database(url))
    assert [stored.item for stored in again.items()] == [item("a")]
    assert again.picture(pixels("cat").sha256) == pixels("cat")


def test_said_anew_it_replaces_what_was_said_and_is_reviewed_again() -> None:
    store = fresh_store()
    store.add(item("a"), [pixels("cat")])
    accept(store, ["a"], BO)
    store.add(item("a", verdict="bad"))
    assert [(one.item.verdict, one.review.state) for one in store.items()] == [("bad", "new")]


def test_personal_data_hold_an_item_until_somebody_accepts_it_by_name_and_with_a_reason() -> None:
    store = fresh_store()
    store.add(item("a", "Whose?", "ann@mail.example.org"))
    store.add(item("b"))
    assert [one.item.id for one in accept(store, [], BO, all_new=True)] == ["b"]
    with pytest.raises(DataError, match="personal data"):
        accept(store, ["a"], BO)
    assert [one.item.id for one in store.items("held")] == ["a"]
    accept(store, ["a"], WHY)
    assert [one.item.id for one in store.items("accepted")] == ["a", "b"]


def test_a_rejection_says_why_and_an_unknown_or_ambiguous_id_changes_nothing() -> None:
    store = fresh_store()
    for name in ("ab", "ac"):
        store.add(item(name))
    for wrong in ("a", "zz", ""):
        with pytest.raises(DataError):
            reject(store, ["ab", wrong], WHY)
    with pytest.raises(DataError, match="reason"):
        reject(store, ["ab"], BO)
    assert {one.review.state for one in store.items()} == {"new"}
    reject(store, ["ab"], WHY)
    assert [one.review.why for one in store.items("rejected")] == ["looked at it"]
    assert lines(store.items())[-1] == "2 items: 1 new, 0 held, 0 accepted, 1 rejected"


def test_deleting_a_user_keeps_the_images_that_others_need() -> None:
    store = fresh_store()
    store.add(item("a", user="ann"), [pixels("cat")])
    store.add(item("b", user="ann", image="dog"), [pixels("dog")])
    store.add(item("c", user="bo"), [pixels("cat")])
    removed = store.delete("ann")
    assert (removed.items, removed.images) == (("a", "b"), (pixels("dog").sha256,))
    assert [one.item.id for one in store.items()] == ["c"]
    assert store.picture(pixels("dog").sha256) is None and store.picture(pixels("cat").sha256) is not None


def test_nothing_of_a_deleted_user_stays_in_the_file(tmp_path: Path) -> None:
    store = FeedbackStore(Database(f"sqlite:///{tmp_path}/feedback.db"))
    store.add(item("a", "A very particular sentence", "Yes."), [pixels("cat")])
    store.delete("ann")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(("-wal", "-shm")))
    assert b"particular sentence" not in kept and b"pixels of cat" not in kept


def test_a_trace_is_noted_and_its_review_stays() -> None:
    store = fresh_store()
    store.add(item("a"))
    accept(store, ["a"], BO)
    store.traced("a", "tr-1")
    store.traced("gone", "tr-2")
    assert [(one.item.trace, one.review.state) for one in store.items()] == [("tr-1", "accepted")]


def test_a_database_that_cannot_be_used_is_named_without_its_password() -> None:
    with pytest.raises(EnvironmentProblem, match=r"x:\*\*\*@127.0.0.1") as raised:
        FeedbackStore(Database("postgresql+psycopg://x:secret@127.0.0.1:1/f")).items()
    assert "secret" not in str(raised.value)


def test_the_page_shows_texts_as_they_are_and_images_within() -> None:
    store = fresh_store()
    vote = item("a", "<script>alert(1)</script>", "Yes.", kind="vote", verdict="a", other=talk("Q", "Other side"))
    store.add(vote, [pixels("cat")])
    html = page(store.items(), store.picture)
    assert "<script>" not in html and "&lt;script&gt;alert(1)" in html
    assert html.count("data:image/png;base64,") == 2 and "Other side" in html
