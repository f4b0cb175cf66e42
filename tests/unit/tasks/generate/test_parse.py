"""Replies are read strictly: whatever could not be training data is rejected, by name."""

from __future__ import annotations

import pytest

from tasks.generate.kinds import AskedKind
from tasks.generate.parse import LONGEST_ANSWER, Rejected, parse

GOOD = "Question:\nWhat colour is it?\n===\nAnswer:\nIt is red.\n===\nQuestion:\nHow many?\n===\nAnswer:\nTwo."


def texts(kind: AskedKind, reply: str) -> list[tuple[str, str]]:
    turns = parse(kind, reply, "Describe it.")
    assert not isinstance(turns, Rejected), turns
    return [(turn.role, turn.text) for turn in turns]


def code(kind: AskedKind, reply: str, finish_reason: str = "stop") -> str:
    fault = parse(kind, reply, "Describe it.", finish_reason)
    assert isinstance(fault, Rejected), fault
    assert fault.told and "\n" not in fault.told
    return fault.code


def test_a_conversation_becomes_alternating_turns() -> None:
    assert texts("conversation", GOOD) == [
        ("human", "What colour is it?"), ("gpt", "It is red."), ("human", "How many?"), ("gpt", "Two."),
    ]


@pytest.mark.parametrize(
    "reply",
    [
        "  \n" + GOOD + "\n\n",
        GOOD.replace(":\n", ": "),
        GOOD.replace("\n===\n", "\n\n === \n\n"),
        GOOD.replace("\n", "\r\n"),
    ],
    ids=["space around", "label and text on one line", "loose separators", "carriage returns"],
)
def test_white_space_does_not_matter(reply: str) -> None:
    assert texts("conversation", reply) == texts("conversation", GOOD)


def test_answers_may_have_several_lines() -> None:
    assert texts("complex", "Question:\nWhy?\n===\nAnswer:\nFirst.\n\nSecond.")[1][1] == "First.\n\nSecond."


def test_a_description_is_taken_whole_after_its_question() -> None:
    assert texts("detail", "A dog runs.\n\nIt is brown.\n") == [
        ("human", "Describe it."), ("gpt", "A dog runs.\n\nIt is brown."),
    ]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("What colour is it? It is red.", "form"),
        ("Sure! " + GOOD, "form"),
        (GOOD + "\n===\nI hope this helps.", "form"),
        ("Question:\nA?\nAnswer:\nB.", "form"),
        ("Question:\n\n===\nAnswer:\nB.", "empty question"),
        ("Question:\nA?\n===\nAnswer:\n", "empty answer"),
        ("Answer:\nB.\n===\nQuestion:\nA?", "answer without question"),
        ("Question:\nA?\n===\nAnswer:\nB.\n===\nAnswer:\nC.", "answer without question"),
        ("Question:\nA?\n===\nQuestion:\nB?\n===\nAnswer:\nC.", "question without answer"),
        ("Question:\nA?", "question without answer"),
        (GOOD + "\n===\nQuestion:\nMore?", "question without answer"),
        ("Question:\nA?\n===\nAnswer:\n" + "x" * (LONGEST_ANSWER + 1), "too long"),
        ("\n===\n".join(["Question:\nA?\n===\nAnswer:\nB."] * 16), "too long"),
    ],
)
def test_a_broken_conversation_is_rejected_by_name(reply: str, reason: str) -> None:
    assert code("conversation", reply) == reason


def test_complex_is_one_question_with_its_answer() -> None:
    assert len(texts("complex", "Question:\nWhy?\n===\nAnswer:\nBecause.")) == 2
    assert code("complex", GOOD) == "number"


def test_a_reply_that_was_cut_off_is_rejected_though_it_parses() -> None:
    assert code("detail", "A dog", finish_reason="length") == "cut off"


@pytest.mark.parametrize("text", ["Question:\nA?\n===\nAnswer:\nB.", "A dog.\n===\nA cat.", "Answer: a dog."])
def test_a_description_in_the_form_of_a_conversation_is_rejected(text: str) -> None:
    assert code("detail", text) == "form"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("The caption says that a dog runs.", "leak"),
        ("Judging by the bounding boxes there is a dog.", "leak"),
        ("The coordinates show a dog.", "leak"),
        ("According to the description, a dog runs.", "leak"),
        ("The provided text mentions a dog.", "leak"),
        ("Here's a revised version of the original sentence: a dog runs.", "leak"),
        ("This rephrased sentence aims to say that a dog runs.", "leak"),
        ("A dog at [0.1, 0.2, 0.3, 0.4].", "coordinates"),
        ("A dog at (0.10, 0.25).", "coordinates"),
        ("A dog whose left edge is at 0.352.", "coordinates"),
        ("I'm sorry, but I cannot see any image.", "refusal"),
        ("As an AI language model, I have no eyes.", "refusal"),
        ("I cannot describe this.", "refusal"),
        ("I don't have access to the image.", "refusal"),
        ("<image>\nA dog.", "markup"),
        ("A dog.</s>", "markup"),
        ("A dog. USER: and a cat?", "markup"),
        ("### Assistant\nA dog.", "markup"),
        ("A dog.<|im_end|>", "markup"),
    ],
)
def test_what_gives_the_prompt_away_refuses_or_is_markup_is_rejected(text: str, reason: str) -> None:
    assert code("detail", text) == reason
    assert code("conversation", f"Question:\nWhat?\n===\nAnswer:\n{text}") == reason


@pytest.mark.parametrize(
    "text",
    [
        "A man boxes in the ring, and a box of 3.5 kg stands beside it.",
        "The sign gives a description of the park; the man apologises to nobody.",
        "The price is 0.99 and the score 2.5 to 1.",
        "She cannot see the ball, because the user of the bench is in the way.",
        "Two lamps, one on the left (the taller), one on the right.",
    ],
)
def test_harmless_words_pass(text: str) -> None:
    assert texts("detail", text)[1] == ("gpt", text)
