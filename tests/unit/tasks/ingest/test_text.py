from __future__ import annotations

from tasks.ingest.text import clean, clean_captions, too_long


def test_captions_are_one_line_each_and_empty_ones_go() -> None:
    assert clean_captions([" A cat\n on a  mat. ", "", "  ", "\0"]) == ("A cat on a mat.",)


def test_control_characters_and_half_characters_go_and_line_ends_stay() -> None:
    assert clean("a\0b\x1b[31m\r\nc\td\ud83d\x85") == "ab[31m\nc\td"


def test_text_of_other_scripts_and_joined_emoji_stay_as_they_are() -> None:
    text = "\u732b \U0001f468\u200d\U0001f469 e\u0301"
    assert clean(text) == text


def test_the_first_text_that_is_too_long_is_told() -> None:
    assert too_long(["ab", "abcd"], 3) == "4 characters, 3 allowed"
    assert too_long(["abc"], 3) == ""
