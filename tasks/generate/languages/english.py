"""English."""

from __future__ import annotations

import re

from tasks.generate.languages.base import Language
from tasks.names import english_words

FOREIGN = re.compile(r"[\u0370-\u1fff\u3040-\u9fff\uac00-\ud7af]")
"""Letters of other scripts, from Greek to Hangul."""
FUNCTION_WORDS = frozenset((
    "a", "an", "the", "is", "are", "was", "of", "and", "in", "to", "it", "on", "with", "that", "there", "this", "at",
    "for", "from", "by", "as", "or", "not", "no", "has", "have", "be", "they", "he", "she", "its", "which", "one",
))
TELLING = 25
"""Fewer words do not tell a language."""
ENOUGH = 600
"""Characters that are looked at for function words."""
LEAST_FUNCTION_SHARE = 0.1
"""English prose has about 40% of these words, other languages in Latin letters a few percent by chance."""
MOST_FOREIGN_SHARE = 0.1


def is_english(text: str) -> bool:
    """Latin letters and, in a text that is long enough, English function words."""
    if not text.isascii() and len(FOREIGN.findall(text)) > MOST_FOREIGN_SHARE * len(text):
        return False
    found = english_words(text[:ENOUGH])
    if len(found) < TELLING:
        return True
    return sum(word in FUNCTION_WORDS for word in found) >= LEAST_FUNCTION_SHARE * len(found)


def _begins(forms: str) -> re.Pattern[str]:
    return re.compile(rf"\A\W*(?:{forms})\b", re.IGNORECASE)


ENGLISH = Language(
    code="en",
    prompts="default",
    question="Question",
    answer="Answer",
    label=re.compile(r"\A(Question|Answer)[ \t]*:[ \t]*\n?"),
    stray_label=re.compile(r"^[ \t]*(Question|Answer)[ \t]*:", re.MULTILINE),
    leaks=re.compile(
        r"\b(captions?|bounding[ -]box(es)?|coordinates?|annotations?|object detections?"
        r"|(the|these|those|given|provided) (sentences|descriptions|rectangles)"
        r"|(provided|given) (text|information|context|description)"
        r"|(original|revised|altered|rewritten|rephrased|corrected)"
        r" (sentence|version|text|description|reply|response)s?"
        r"|rephras(e|es|ed|ing)|the sentence's structure"
        r"|(according to|based on|from) the (description|text|sentences?|context|information))\b",
        re.IGNORECASE,
    ),
    refusals=re.compile(
        r"\bas an ai\b|\blanguage model\b|\bi('m| am) (sorry|unable|not able)\b|\bi apologi[sz]e\b"
        r"|\bi (cannot|can't|can not) (see|view|help|assist|answer|describe|provide|determine)\b"
        r"|\bi (don't|do not) have (access|enough)\b",
        re.IGNORECASE,
    ),
    again="That reply cannot be used: {reason}. Write it again, in the form that was asked for.",
    complaints={},
    words=english_words,
    is_written=is_english,
    question_types=(
        ("how many", re.compile(r"\bhow (?:many|much)\b|\bnumber of\b", re.IGNORECASE)),
        ("colour", re.compile(r"\bcolou?rs?\b", re.IGNORECASE)),
        ("describe", re.compile(r"\bdescri(?:be|ption)\b|\btell me\b", re.IGNORECASE)),
        ("where", re.compile(r"\bwhere\b", re.IGNORECASE)),
        ("why", re.compile(r"\bwhy\b|\bwhat (?:reason|might be the reason)", re.IGNORECASE)),
        ("how", re.compile(r"\bhow\b", re.IGNORECASE)),
        ("who", re.compile(r"\bwho(?:se|m)?\b", re.IGNORECASE)),
        ("when", re.compile(r"\bwhen\b|\bwhat time\b", re.IGNORECASE)),
        ("which", re.compile(r"\bwhich\b", re.IGNORECASE)),
        ("what", re.compile(r"\bwhat\b", re.IGNORECASE)),
        ("yes or no", _begins("is|are|was|were|do|does|did|can|could|has|have|will|would|should|might")),
    ),
)
