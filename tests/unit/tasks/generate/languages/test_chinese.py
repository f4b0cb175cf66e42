"""Chinese replies are read by the same rules, with their own labels and words."""

from __future__ import annotations

import pytest

from tasks.generate.checks.written import wrong_language
from tasks.generate.kinds import KINDS, AskedKind
from tasks.generate.languages.chinese import CHINESE
from tasks.generate.parse import Rejected, parse
from tasks.generate.prompt import load_prompts

# ruff: noqa: RUF001
GOOD = "问题：\n图里有几只狗？\n===\n回答：\n有两只狗。\n===\n问题：\n它们在哪里？\n===\n回答：\n在沙发旁边。"


def read(kind: AskedKind, reply: str) -> list[str] | str:
    """The texts of the turns, or the code of the fault."""
    turns = parse(kind, reply, "请描述这张图片。", language=CHINESE)
    return turns.code if isinstance(turns, Rejected) else [turn.text for turn in turns]


def test_a_conversation_becomes_turns_with_either_colon() -> None:
    wanted = ["图里有几只狗？", "有两只狗。", "它们在哪里？", "在沙发旁边。"]
    assert read("conversation", GOOD) == wanted
    assert read("conversation", GOOD.replace("：", ":")) == wanted


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (GOOD.replace("问题", "Question").replace("回答", "Answer"), "form"),
        (GOOD.replace("\n===", ""), "form"),
        ("回答：\n有。\n===\n问题：\n有吗？", "answer without question"),
        ("问题：\n有吗？", "question without answer"),
        ("问题：\n\n===\n回答：\n有。", "empty question"),
        ("问题：\n这是什么？\n===\n回答：\n抱歉，我无法看到图片。", "refusal"),
        ("问题：\n这是什么？\n===\n回答：\n根据上述描述，是一只狗。", "leak"),
        ("问题：\n这是什么？\n===\n回答：\n边界框里是一只狗。", "leak"),
        ("问题：\n这是什么？\n===\n回答：\n狗在0.352处。", "coordinates"),
        ("问题：\n这是什么？\n===\n回答：\n狗在（x1是左边）这里。", "coordinates"),
    ],
)
def test_a_broken_reply_is_rejected_by_name(reply: str, code: str) -> None:
    assert read("conversation", reply) == code


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_obey_the_rules_that_replies_are_held_to(kind: AskedKind) -> None:
    for message in load_prompts("default_zh").before[kind]:
        if message.role == "assistant":
            turns = parse(kind, message.content, "请描述这张图片。", language=CHINESE)
            assert not isinstance(turns, Rejected), turns
            assert wrong_language(turns, CHINESE) is None


def test_every_fault_that_a_reply_can_have_is_told_in_chinese() -> None:
    codes = ["empty", "cut off", "form", "number", "too long", "refusal", "leak", "coordinates", "markup", "language"]
    assert all("中文" in (said := CHINESE.complaint(code, "ENGLISH")) and "ENGLISH" not in said for code in codes)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("有几只狗？", "how many"), ("狗是什么颜色的？", "colour"), ("狗在哪里？", "where"), ("为什么它在跑？", "why"),
        ("他在做什么？", "what"), ("有猫吗？", "yes or no"), ("请详细描述这张图片。", "describe"),
    ],
)  # fmt: skip
def test_questions_have_types(question: str, kind: str) -> None:
    assert CHINESE.question_type(question) == kind
