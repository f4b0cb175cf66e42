"""From the text of an answer to a choice, by a named rule. Scores under two rules are not comparable.

`llava`               the four steps of LLaVA's eval_science_qa.py, strict
`scienceqa-official`  the ScienceQA repository's sentence "The answer is X." and nothing else
`lenient`             llava, then what a person would accept: (b), B:, "B is", "answer: B", the choice's own words
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from model.questions import LETTERS


class Rule(StrEnum):
    """Name of an extraction rule; part of every result."""

    LLAVA = "llava"
    OFFICIAL = "scienceqa-official"
    LENIENT = "lenient"


class Parsed(NamedTuple):
    """The index of the choice that was named, or None and why there is none."""

    choice: int | None
    reason: str = ""


EMPTY = "empty"
NO_ANSWER = "no answer found"
OUTSIDE = "outside the choices"

# The last dot stands for any character, as in the published scripts: an answer that ends at the letter does not parse.
_SENTENCE = re.compile(r"The answer is ([A-Z]).")
_BARE_LETTER = re.compile(r"\(?([A-Ea-e])\)?[.:,]?")
_LEADING_LETTER = re.compile(r"(?:\(([A-E])\)|([A-E])[).:]|([A-E])(?= is\b))\s")
_ANSWER_PHRASE = re.compile(r"\banswer(?: is|:| is:)\s*(?:option |choice )?\(?([A-E])\b", re.IGNORECASE)


def parse_answer(text: str, choices: Sequence[str], rule: Rule) -> Parsed:
    """The choice that a text names under a rule. The letter must stand for one of the question's choices."""
    if not text.strip():
        return Parsed(None, EMPTY)
    found = _READERS[rule](text, choices)
    if found is None:
        return Parsed(None, NO_ANSWER)
    index = LETTERS.find(found)
    if not 0 <= index < len(choices):
        return Parsed(None, OUTSIDE)
    return Parsed(index)


def _llava(text: str, choices: Sequence[str]) -> str | None:
    """Steps 2 to 4 of eval_science_qa.py: the letter alone; the letter, a dot and a space; the sentence, once."""
    if len(text) == 1 and text in LETTERS:
        return text
    if len(text) >= 3 and text[0] in LETTERS and text[1:3] == ". ":
        return text[0]
    return _official(text, choices)


def _official(text: str, choices: Sequence[str]) -> str | None:
    """run_gpt3.py: the sentence must occur exactly once."""
    found = _SENTENCE.findall(text)
    return found[0] if len(found) == 1 else None


def _lenient(text: str, choices: Sequence[str]) -> str | None:
    text = text.strip()
    if strict := _llava(text, choices):
        return strict
    if bare := _BARE_LETTER.fullmatch(text):
        return bare[1].upper()
    if leading := _LEADING_LETTER.match(text):
        return leading[1] or leading[2] or leading[3]
    phrases = {letter.upper() for letter in _ANSWER_PHRASE.findall(text)}
    if phrases:
        return phrases.pop() if len(phrases) == 1 else None
    return _by_words(text, choices)


def _by_words(text: str, choices: Sequence[str]) -> str | None:
    """The one choice whose words the text is made of, or else the only one that it holds as whole words."""
    said = _plain(text)
    plain = [_plain(choice) for choice in choices]
    same = [index for index, choice in enumerate(plain) if choice and choice == said]
    held = same or [index for index, choice in enumerate(plain) if choice and f" {choice} " in f" {said} "]
    return LETTERS[held[0]] if len(held) == 1 else None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w]+", " ", text.lower()).split())


_READERS = {Rule.LLAVA: _llava, Rule.OFFICIAL: _official, Rule.LENIENT: _lenient}
