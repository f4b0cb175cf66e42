"""The scripted judge: reads a LLaVA-Bench prompt, answers with two scores on the first line and its reasons below.

It holds each answer's claims against the captions and boxes of the context, by the same rule for both. Where the
context is of another world than the embedded one it can only compare words, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.chat.records import Message
from tasks.scripted.context import Context, read_context
from tasks.scripted.marking import LOWEST, NOT_TO_THE_POINT, Mark, mark

NOT_A_REVIEW = "I cannot compare the answers: the context, the question or one of the answers is missing."
WORDS_BEST = 8
"""Highest score where only words could be compared."""
_BLOCKS = re.compile(
    r"\[Context\]\n(?P<context>.*?)\n+\[Question\]\n(?P<question>.*?)\n+\[Assistant 1\]\n(?P<first>.*?)\n*"
    r"\[End of Assistant 1\]\n+\[Assistant 2\]\n(?P<second>.*?)\n*\[End of Assistant 2\]\n+\[System\]",
    re.DOTALL,
)
_FILLERS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "is", "it", "its", "of", "on",
    "or", "that", "the", "there", "this", "to", "was", "were", "with",
))


def answer(messages: Sequence[Message]) -> str:
    """The review of a prompt of LLaVA-Bench."""
    prompt = next((message.content for message in reversed(messages) if message.role == "user"), "")
    blocks = _BLOCKS.search(prompt)
    if blocks is None:
        return NOT_A_REVIEW
    context, question = read_context(blocks["context"]), blocks["question"].strip()
    marks = [_mark(question, blocks[which].strip(), context) for which in ("first", "second")]
    scores = " ".join(str(one.score) for one in marks)
    return "\n".join([scores, *(f"Assistant {number}: {one}" for number, one in enumerate(marks, 1))])


def _mark(question: str, said: str, context: Context) -> Mark:
    facts = context.facts()
    return _by_words(question, said, context) if facts is None else mark(question, said, facts)


def _by_words(question: str, said: str, context: Context) -> Mark:
    """How many of the answer's words occur in the context or the question."""
    words = _words(said)
    if not words:
        return Mark(LOWEST, note="there is no answer")
    known = _words(" ".join([question, *context.captions, *(box.category for box in context.boxes)]))
    share = len(words & known) / len(words)
    score = NOT_TO_THE_POINT + round((WORDS_BEST - NOT_TO_THE_POINT) * share)
    return Mark(score, note=f"by words alone, {len(words & known)} of {len(words)} agree with the context")


def _words(text: str) -> set[str]:
    return {word for word in re.findall(r"[a-z]+", text.lower()) if word not in _FILLERS}
