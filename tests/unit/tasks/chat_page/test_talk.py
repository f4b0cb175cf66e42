from __future__ import annotations

from pathlib import Path

from tasks.chat_page.desk import pair_of
from tasks.chat_page.talk import Side, Talk, request, restored, shown
from tasks.feedback.records import Message

IMAGE = "a" * 64


def there(image: str) -> Path | None:
    return Path("/there") / image if image == IMAGE else None


def asked() -> Side:
    return Side(model="champion").with_question("What?", [IMAGE])


def test_an_answer_grows_in_its_place_and_an_open_question_makes_way() -> None:
    side = asked().with_answer("I", "v1").with_answer("I see", "v1")
    assert [message.text for message in side.messages] == ["What?", "I see"]
    assert [message.text for message in asked().with_question("Other?", []).messages] == ["Other?"]


def test_rows_shown_stand_in_the_places_of_messages() -> None:
    rows = shown(asked(), there, "…")
    assert rows == [
        {"role": "user", "content": [{"path": f"/there/{IMAGE}"}, "What?"]}, {"role": "assistant", "content": "…"},
    ]  # fmt: skip
    assert len(shown(asked().with_answer("It", "v1"), there, "…")) == 2


def test_a_request_holds_every_turn_and_images_as_data() -> None:
    side = asked().with_answer("It", "v1").with_question("And?", [])
    rows = request(side, {IMAGE: "data:image/png;base64,AA=="})
    assert [row["role"] for row in rows] == ["user", "assistant", "user"]
    assert rows[0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, {"type": "text", "text": "What?"},
    ]  # fmt: skip
    assert rows[2]["content"] == "And?"


def test_a_conversation_comes_back_from_a_browser_only_whole() -> None:
    talk = Talk(id="t", sides=(asked(),))
    assert restored(talk.model_dump_json(), there) == talk
    gone = Talk(id="t", sides=(Side(messages=(Message(role="user", text="", images=("b" * 64,)),)),))
    for kept in (None, "", "{}x", gone.model_dump_json(), '{"id": 3}'):
        assert restored(kept, there) == Talk()


def test_a_vote_needs_two_answers_and_comes_once() -> None:
    one = asked().with_answer("It", "v1")
    assert Talk(sides=(one, one)).can_vote()
    assert not Talk(sides=(one, asked())).can_vote()
    assert not Talk(sides=(one,)).can_vote()
    assert not Talk(sides=(one, one), vote="a").can_vote()


def test_champion_and_challenger_are_compared_where_they_are_named() -> None:
    assert pair_of(["x", "llavaflow@challenger", "llavaflow@champion"], None) == (
        "llavaflow@champion", "llavaflow@challenger",
    )  # fmt: skip
    assert pair_of(["a", "b", "c"], None) == ("a", "b")
    assert pair_of(["a"], None) is None and pair_of([], None) is None
    assert pair_of(["a", "b", "c"], ("c", "a")) == ("c", "a")
    assert pair_of(["a"], ("a", "b")) is None
