from __future__ import annotations

import string

import pytest

from tasks.chat_page.words import CHINESE, ENGLISH, LANGUAGES, Words, preferred


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_text_is_there_in_every_language_with_the_same_places() -> None:
    assert {key: places(text) for key, text in ENGLISH.items()} == {key: places(text) for key, text in CHINESE.items()}


def test_no_text_is_empty_and_the_link_names_the_other_language() -> None:
    assert all(text for words in LANGUAGES.values() for text in words.values())
    for language in LANGUAGES:
        assert Words(language)("language") == Words(Words(language).other)("name")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de-DE,de;q=0.9,en;q=0.5,zh;q=0.1", "en"),
        ("en;q=0.1, ZH-tw;q=0.2", "zh"),
        ("zh;q=0", "en"),
        ("fr", "en"),
        ("", "en"),
        ("zh;q=x", "en"),
    ],
)
def test_the_language_is_the_one_that_is_liked_best(accepted: str, language: str) -> None:
    assert preferred(accepted) == language
