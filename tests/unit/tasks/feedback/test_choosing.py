from __future__ import annotations

from collections.abc import Iterable

import pytest

from tasks.feedback.choosing import Chosen, choose, digest
from tasks.feedback.records import Item, Review, State, Stored, Verdict
from tests.unit.tasks.feedback.items import item, talk

VOTED: tuple[tuple[str, Verdict], ...] = (("x", "a"), ("y", "b"), ("z", "both"))


def chosen(*items: Item, state: State = "accepted") -> Chosen:
    return choose(Stored(item=one, review=Review(state=state, who="bo", why="fine")) for one in items)


def left(found: Chosen) -> dict[str, str]:
    return {one.item: one.reason for one in found.left_out}


def answers(found: Chosen) -> list[list[str]]:
    return [[answer for _, answer in sample.turns] for sample in found.samples]


def test_a_good_answer_is_learned_as_it_is_and_a_bad_one_as_it_was_corrected() -> None:
    found = chosen(item("a"), item("b", "Colour?", "Red.", verdict="bad", correction="Blue."))
    assert answers(found) == [["It is a."], ["Blue."]]
    assert [sample.id for sample in found.samples] == ["feedback-a", "feedback-b"]


def test_of_a_vote_the_winner_is_learned() -> None:
    other = talk("What is it?", "Side b says so.")
    found = chosen(*(item(name, kind="vote", verdict=verdict, other=other, user=name)
                     for name, verdict in VOTED))  # fmt: skip
    assert answers(found) == [["It is x."], ["Side b says so."]]
    assert left(found) == {"z": "no good answer"}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (item("n", consent=False), "no consent"),
        (item("n", verdict="bad"), "no good answer"),
        (item("n", "", "Yes."), "empty text"),
        (item("n", "Write to me", "at ann@mail.example.org"), "held for personal data"),
    ],
)
def test_what_must_not_or_cannot_be_learned_from_is_left_out_with_its_reason(one: Item, reason: str) -> None:
    assert left(chosen(one)) == {"n": reason}
    assert chosen(one).samples == []


@pytest.mark.parametrize(
    ("state", "reason"), [("new", "not reviewed"), ("held", "held for personal data"), ("rejected", "rejected")]
)
def test_only_accepted_items_are_exported(state: State, reason: str) -> None:
    assert left(chosen(item("n"), state=state)) == {"n": reason}


def test_personal_data_that_a_reviewer_saw_and_accepted_is_learned_from() -> None:
    one = item("n", "Whose?", "ann@mail.example.org")
    known = Review(state="accepted", findings=("email address",), who="bo", why="an invented address")
    assert len(choose([Stored(item=one, review=known)]).samples) == 1


def test_a_conversation_of_several_images_is_left_out() -> None:
    one, two = talk("What?", "This."), talk("And this?", "That.", image="dog")
    both = item("n").model_copy(update={"messages": (*one, *two)})
    late = item("m").model_copy(update={"messages": (*talk("Hi", "Hi", image=None), *two)})
    assert left(chosen(both, late)) == {"n": "several images", "m": "image came later"}


def test_of_one_user_s_words_on_one_answer_the_last_counts() -> None:
    early = item("a", "Q", "A", conversation="c", verdict="good")
    late = item("b", "Q", "A", conversation="c", verdict="bad", created="2026-11-22T13:00:00+00:00")
    assert left(chosen(late, early)) == {"a": "superseded", "b": "no good answer"}


def test_equal_samples_are_one_and_know_both_items() -> None:
    found = chosen(item("a", "Which colour?", "Red."), item("b", " which  COLOUR?", "red.", user="bo"))
    assert left(found) == {"b": "duplicate"}
    assert [sample.items for sample in found.samples] == [("a", "b")]
    assert chosen(item("a", "Q", "A"), item("b", "Q", "A", image="dog")).left_out == []


def test_the_beginning_of_a_longer_conversation_is_not_learned_twice() -> None:
    found = chosen(item("a", "Q", "A"), item("b", "Q", "A", "More?", "Yes."))
    assert left(found) == {"a": "within a longer one"}
    assert [(sample.id, sample.items) for sample in found.samples] == [("feedback-b", ("a", "b"))]


def test_an_earlier_answer_is_corrected_in_what_follows_or_spoils_it() -> None:
    first = item("a", "Q", "A", conversation="c", verdict="bad", correction="Better.")
    follow = item("b", "Q", "A", "More?", "Yes.", conversation="c")
    assert answers(chosen(first, follow))[0] == ["Better.", "Yes."]
    spoiled = chosen(first.model_copy(update={"correction": ""}), follow)
    assert left(spoiled) == {"a": "no good answer", "b": "an earlier answer is bad"}


def test_an_image_token_in_somebody_s_words_does_not_stand_for_an_image() -> None:
    found = chosen(item("a", "What does <image> mean?", "<image> is a token."))
    assert found.samples[0].turns == (("What does   mean?", "is a token."),)


def test_equal_feedback_in_another_order_makes_equal_samples() -> None:
    items: Iterable[Item] = [item("a"), item("b", "Q", "A"), item("c", "q", "a", user="bo")]
    first, second = chosen(*items), chosen(*reversed(list(items)))
    assert digest(first.samples) == digest(second.samples)
    assert first.left_out == second.left_out
