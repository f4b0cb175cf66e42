"""Strict reading of the teacher's replies: turns, or a reason why not. Nothing is repaired.

A reply that slips through here becomes training data, so what breaks its form, gives away that it was written from
captions and boxes, refuses, or would be taken for markup by a template is rejected; the teacher is told why and asked
again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from model.records import Turn
from tasks.generate.prompt import AskedKind

LONGEST_QUESTION = 500
LONGEST_ANSWER = 3000
MOST_PAIRS = 15
SEPARATOR = re.compile(r"^[ \t]*===[ \t]*$", re.MULTILINE)
LABEL = re.compile(r"\A(Question|Answer)[ \t]*:[ \t]*\n?")
STRAY_LABEL = re.compile(r"^[ \t]*(Question|Answer)[ \t]*:", re.MULTILINE)
LEAKS = re.compile(
    r"\b(captions?|bounding[ -]box(es)?|coordinates?|annotations?|object detections?"
    r"|(the|these|those|given|provided) (sentences|descriptions|rectangles)"
    r"|(provided|given) (text|information|context|description)"
    r"|(according to|based on|from) the (description|text|sentences?|context|information))\b",
    re.IGNORECASE,
)
COORDINATES = re.compile(r"[\[(]\s*\d*\.\d+\s*,|\b[xy][12]\b|\b[01]\.\d{3}\b")
REFUSAL = re.compile(
    r"\bas an ai\b|\blanguage model\b|\bi('m| am) (sorry|unable|not able)\b|\bi apologi[sz]e\b"
    r"|\bi (cannot|can't|can not) (see|view|help|assist|answer|describe|provide|determine)\b"
    r"|\bi (don't|do not) have (access|enough)\b",
    re.IGNORECASE,
)
MARKUP = re.compile(r"<image>|</?s>|<\|[^|>]*\|>|^\s*#{3}|\[/?INST\]|\b(USER|ASSISTANT|SYSTEM):", re.MULTILINE)


@dataclass(frozen=True)
class Rejected:
    """Why a reply is not used: a code to count by, and a phrase that tells the teacher."""

    code: str
    told: str


Pair = tuple[str, str]


def parse(kind: AskedKind, text: str, question: str, finish_reason: str = "stop") -> tuple[Turn, ...] | Rejected:
    """The turns of a reply, human first. `question` is that of a detailed description, which has none of its own."""
    text = text.replace("\r\n", "\n").strip()
    if not text:
        return Rejected("empty", "it is empty")
    if finish_reason == "length":
        return Rejected("cut off", "it was too long and was cut off")
    if refused := _first_fault(text):
        return refused
    pairs = [(question, text)] if kind == "detail" else _pairs(text)
    if isinstance(pairs, Rejected):
        return pairs
    if kind == "detail" and (STRAY_LABEL.search(text) or SEPARATOR.search(text)):
        return Rejected("form", "a description has no Question, Answer or === in it")
    if kind == "complex" and len(pairs) != 1:
        return Rejected("number", f"it has {len(pairs)} questions where one was asked for")
    if wrong := next((fault for pair in pairs if (fault := _too_long(pair))), None):
        return wrong
    if len(pairs) > MOST_PAIRS:
        return Rejected("too long", f"it has {len(pairs)} questions, which is more than {MOST_PAIRS}")
    return tuple(
        turn for asked, answer in pairs for turn in (Turn(role="human", text=asked), Turn(role="gpt", text=answer))
    )


def _pairs(text: str) -> list[Pair] | Rejected:
    """Questions with their answers. Segments are split by ===, begin with their label, and alternate."""
    segments: list[tuple[str, str]] = []
    for segment in SEPARATOR.split(text):
        label = LABEL.match(segment.strip())
        if label is None:
            return Rejected("form", "each part must begin with 'Question:' or 'Answer:', parts being split by ===")
        content = segment.strip()[label.end() :].strip()
        if STRAY_LABEL.search(content):
            return Rejected("form", "there must be a line with === between each question and answer")
        if not content:
            return Rejected(f"empty {label[1].lower()}", f"a part has nothing after '{label[1]}:'")
        segments.append((label[1], content))
    return _alternating(segments)


def _alternating(segments: list[tuple[str, str]]) -> list[Pair] | Rejected:
    for place, (label, _) in enumerate(segments):
        if label == "Answer" and place % 2 == 0:
            return Rejected("answer without question", "an answer comes without a question before it")
        if label == "Question" and place % 2 == 1:
            return Rejected("question without answer", "a question comes without an answer after it")
    if len(segments) % 2:
        return Rejected("question without answer", "the last question has no answer")
    return [(segments[at][1], segments[at + 1][1]) for at in range(0, len(segments), 2)]


def _too_long(pair: Pair) -> Rejected | None:
    for name, text, most in (("question", pair[0], LONGEST_QUESTION), ("answer", pair[1], LONGEST_ANSWER)):
        if len(text) > most:
            return Rejected("too long", f"one {name} has {len(text)} characters, which is more than {most}")
    return None


def _refusal(text: str) -> Rejected | None:
    found = REFUSAL.search(text)
    return Rejected("refusal", f"it refuses or speaks of itself ('{found[0]}')") if found else None


def _leak(text: str) -> Rejected | None:
    found = LEAKS.search(text)
    return Rejected("leak", f"it speaks of what was given instead of the picture ('{found[0]}')") if found else None


def _numbers(text: str) -> Rejected | None:
    return Rejected("coordinates", "it contains coordinates") if COORDINATES.search(text) else None


def _markup(text: str) -> Rejected | None:
    found = MARKUP.search(text)
    return Rejected("markup", f"it contains '{found[0].strip()}', which is not plain text") if found else None


_FAULTS: tuple[Callable[[str], Rejected | None], ...] = (_refusal, _leak, _numbers, _markup)


def _first_fault(text: str) -> Rejected | None:
    return next((fault for find in _FAULTS if (fault := find(text))), None)
