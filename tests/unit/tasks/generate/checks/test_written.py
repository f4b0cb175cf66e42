"""The language that a conversation is in."""

from __future__ import annotations

import pytest

from model.records import Turn
from tasks.generate.checks.written import wrong_language
from tasks.generate.languages.base import Language
from tasks.generate.languages.chinese import CHINESE
from tasks.generate.languages.english import ENGLISH

# ruff: noqa: RUF001
SPANISH = (
    "En la imagen se ve un perro marrón que corre por la playa mientras dos niños juegan con una pelota cerca del mar "
    "y una mujer los mira sentada bajo una sombrilla roja."
)
LONG = (
    "There is a brown dog that runs along the beach while two children play with a ball close to the water, and a "
    "woman watches them from under a red umbrella."
)


def code(language: Language, question: str, answer: str) -> str | None:
    fault = wrong_language((Turn(role="human", text=question), Turn(role="gpt", text=answer)), language)
    return fault.code if fault else None


@pytest.mark.parametrize("answer", ["Two.", "A dog, a cat, a bird, a horse.", LONG, "The sign says 出口, or exit."])
def test_english_passes_as_english(answer: str) -> None:
    assert code(ENGLISH, "What is it?", answer) is None


@pytest.mark.parametrize("answer", ["一只狗在沙滩上跑。", SPANISH, "Собака бежит по пляжу."])
def test_other_languages_do_not_pass_as_english(answer: str) -> None:
    assert code(ENGLISH, "What is it?", answer) == "language"


@pytest.mark.parametrize("answer", ["一只狗在沙滩上跑。", "标志上写着 STOP。", "3"])
def test_chinese_passes_as_chinese(answer: str) -> None:
    assert code(CHINESE, "这是什么？", answer) is None


@pytest.mark.parametrize("answer", [LONG, "犬がビーチを走っています。", "一只 dog 在 running on the beach。"])
def test_other_languages_do_not_pass_as_chinese(answer: str) -> None:
    assert code(CHINESE, "这是什么？", answer) == "language"


def test_a_question_in_another_language_is_found_beside_a_long_answer() -> None:
    assert code(CHINESE, "What is it?", "一只狗在沙滩上跑。" * 20) == "language"
