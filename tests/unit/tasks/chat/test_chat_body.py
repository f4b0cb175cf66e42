"""Reading what an endpoint says, figures that cannot be right included."""

from __future__ import annotations

import json

import pytest

from tasks.chat.body import input_tokens, read_reply, tokens_of
from tasks.chat.errors import Retry
from tasks.chat.records import Message, Reply

HELLO = (Message("system", "You are kind."), Message("user", "hello"))


def completion(usage: object, text: str | None = "good day") -> str:
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": None}], "usage": usage})


def test_plausible_figures_are_believed() -> None:
    reply = read_reply(completion({"prompt_tokens": 12, "completion_tokens": 3}), HELLO, 100)
    assert reply == Reply("good day", 12, 3, "stop")


@pytest.mark.parametrize(
    "usage",
    [
        None, [], "none", 7, {}, {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": -5, "completion_tokens": -1}, {"prompt_tokens": "12", "completion_tokens": "many"},
        {"prompt_tokens": 10**15, "completion_tokens": 10**15}, {"prompt_tokens": 1.5, "completion_tokens": True},
        {"prompt_tokens": float("nan"), "completion_tokens": float("inf")},
    ],
)
def test_figures_that_cannot_be_right_cost_no_answer_and_become_estimates(usage: object) -> None:
    reply = read_reply(completion(usage), HELLO, 100)
    assert reply == Reply("good day", input_tokens(HELLO), tokens_of("good day"), "stop", estimated=True)


def test_one_wrong_figure_leaves_the_other_as_it_is() -> None:
    reply = read_reply(completion({"prompt_tokens": 12, "completion_tokens": -1}), HELLO, 100)
    assert reply == Reply("good day", 12, tokens_of("good day"), "stop", estimated=True)


@pytest.mark.parametrize("body", ["", "{", "[]", "null", '{"choices": []}', '{"choices": [{}]}', "[" * 100_000])
def test_what_is_no_completion_is_to_be_asked_for_again(body: str) -> None:
    assert isinstance(read_reply(body, HELLO, 100), Retry)


def test_an_answer_without_text_is_an_empty_one() -> None:
    reply = read_reply(completion({"prompt_tokens": 12, "completion_tokens": 0}, None), HELLO, 100)
    assert reply == Reply("", 12, 0, "stop")


def test_characters_that_no_database_takes_are_marked_and_all_others_kept() -> None:
    reply = read_reply(completion(None, "a\x00b\ud83dc \U0001f600 \u4e2d"), HELLO, 100)
    assert isinstance(reply, Reply)
    assert reply.text == "a\ufffdb\ufffdc \U0001f600 \u4e2d"
