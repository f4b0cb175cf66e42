"""Strict reading of the teacher's replies: turns, or a reason why not. Nothing is repaired.

A reply that slips through here becomes training data, so what breaks its form, gives away that it was written from
captions and boxes, refuses, or would be taken for markup by a template is rejected; the teacher is told why and asked
again. What the labels and the telling words are, each language says (`languages`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from model.records import Turn
from tasks.generate.kinds import AskedKind
from tasks.generate.languages.base import Language
from tasks.generate.languages.english import ENGLISH

LONGEST_QUESTION = 500
LONGEST_ANSWER = 3000
MOST_PAIRS = 15
SEPARATOR = re.compile(r"^[ \t]*===[ \t]*$", re.MULTILINE)
COORDINATES = re.compile(
    r"[\[(]\s*\d*\.\d+\s*[,\uff0c]|(?<![A-Za-z0-9_])[xy][12](?![A-Za-z0-9_])"
    r"|(?<![A-Za-z0-9_])[01]\.\d{3}(?![A-Za-z0-9_])"
)
"""Without word boundaries, which there are none of between a Chinese character and a digit."""
MARKUP = re.compile(r"<image>|</?s>|<\|[^|>]*\|>|^\s*#{3}|\[/?INST\]|\b(USER|ASSISTANT|SYSTEM):", re.MULTILINE)


@dataclass(frozen=True)
class Rejected:
    """Why a reply is not used: a code to count by, and a phrase that tells the teacher."""

    code: str
    told: str


Pair = tuple[str, str]
Part = Literal["question", "answer"]


def parse(
    kind: AskedKind, text: str, question: str, finish_reason: str = "stop", language: Language = ENGLISH
) -> tuple[Turn, ...] | Rejected:
    """The turns of a reply, human first. `question` is that of a detailed description, which has none of its own."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        return Rejected("empty", "it is empty")
    if finish_reason == "length":
        return Rejected("cut off", "it was too long and was cut off")
    if refused := _first_fault(text, language):
        return refused
    pairs = [(question, text)] if kind == "detail" else _pairs(text, language)
    if isinstance(pairs, Rejected):
        return pairs
    if kind == "detail" and (language.stray_label.search(text) or SEPARATOR.search(text)):
        return Rejected("form", f"a description has no {language.question}, {language.answer} or === in it")
    if kind == "complex" and len(pairs) != 1:
        return Rejected("number", f"it has {len(pairs)} questions where one was asked for")
    if wrong := next((fault for pair in pairs if (fault := _too_long(pair))), None):
        return wrong
    if len(pairs) > MOST_PAIRS:
        return Rejected("too long", f"it has {len(pairs)} questions, which is more than {MOST_PAIRS}")
    return tuple(
        turn for asked, answer in pairs for turn in (Turn(role="human", text=asked), Turn(role="gpt", text=answer))
    )


def _pairs(text: str, language: Language) -> list[Pair] | Rejected:
    """Questions with their answers. Segments are split by ===, begin with their label, and alternate."""
    segments: list[tuple[Part, str]] = []
    for segment in SEPARATOR.split(text):
        label = language.label.match(segment.strip())
        if label is None:
            told = f"each part must begin with '{language.question}:' or '{language.answer}:', parts being split by ==="
            return Rejected("form", told)
        part: Part = "question" if label[1] == language.question else "answer"
        content = segment.strip()[label.end() :].strip()
        if language.stray_label.search(content):
            return Rejected("form", "there must be a line with === between each question and answer")
        if not content:
            return Rejected(f"empty {part}", f"a part has nothing after '{label[1]}:'")
        segments.append((part, content))
    return _alternating(segments)


def _alternating(segments: list[tuple[Part, str]]) -> list[Pair] | Rejected:
    for place, (part, _) in enumerate(segments):
        if part == "answer" and place % 2 == 0:
            return Rejected("answer without question", "an answer comes without a question before it")
        if part == "question" and place % 2 == 1:
            return Rejected("question without answer", "a question comes without an answer after it")
    if len(segments) % 2:
        return Rejected("question without answer", "the last question has no answer")
    return [(segments[at][1], segments[at + 1][1]) for at in range(0, len(segments), 2)]


def _too_long(pair: Pair) -> Rejected | None:
    for name, text, most in (("question", pair[0], LONGEST_QUESTION), ("answer", pair[1], LONGEST_ANSWER)):
        if len(text) > most:
            return Rejected("too long", f"one {name} has {len(text)} characters, which is more than {most}")
    return None


def _first_fault(text: str, language: Language) -> Rejected | None:
    """What makes any kind of reply unusable."""
    if found := language.refusals.search(text):
        return Rejected("refusal", f"it refuses or speaks of itself ('{found[0]}')")
    if found := language.leaks.search(text):
        return Rejected("leak", f"it speaks of what was given instead of the picture ('{found[0]}')")
    if COORDINATES.search(text):
        return Rejected("coordinates", "it contains coordinates")
    if found := MARKUP.search(text):
        return Rejected("markup", f"it contains '{found[0].strip()}', which is not plain text")
    return None
