"""What parsing and checking need to know of a language."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language: labels of a reply's parts, words that give the prompt away, how to ask again."""

    code: str
    prompts: str
    """The default set of prompts."""
    question: str
    """Label of a question, as the prompts ask for it."""
    answer: str
    label: re.Pattern[str]
    """A label at the beginning of a part; group 1 is its word."""
    stray_label: re.Pattern[str]
    """A label at the beginning of any line."""
    leaks: re.Pattern[str]
    refusals: re.Pattern[str]
    again: str
    """What asks for another reply; `{reason}` is filled in."""
    complaints: Mapping[str, str]
    """What the teacher is told of a fault, by its code; a fault that is not here is told in English."""
    words: Callable[[str], list[str]]
    """The words of a text in lower case, for lengths and comparisons."""
    is_written: Callable[[str], bool]
    """Whether a text is in this language. A text too short to tell is."""
    question_types: tuple[tuple[str, re.Pattern[str]], ...]
    """Types of questions by name, to be tried in this order."""

    def complaint(self, code: str, told: str) -> str:
        """The words that ask again after a fault."""
        return self.again.format(reason=self.complaints.get(code, told))

    def question_type(self, question: str) -> str:
        """What a question asks for: the name of the first type that fits, or `other`."""
        return next((name for name, form in self.question_types if form.search(question)), "other")
