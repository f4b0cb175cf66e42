"""The scripted text-only LLM: answers multiple-choice questions from their words alone, and says so where it cannot.

It reads a ScienceQA prompt (question, context, options) and settles what the context's sentences settle. Asked about
captions and boxes in place of options, it describes what they say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.chat.records import Message
from tasks.scripted import foreign
from tasks.scripted.context import read_context
from tasks.world.answering import claims
from tasks.world.facts import Facts, check, facts_of

NO_ANSWER = "The words alone do not tell; I would have to see the picture."
_QUESTION = re.compile(r"(?P<question>[^\n]+)\nContext: (?P<context>.*?)\nOptions: (?P<options>[^\n]+)", re.DOTALL)
_OPTION = re.compile(r"\(([A-E])\) (.*?)(?= \([A-E]\) |$)")
_CONTEXT = re.compile(r"\[Context\]\n(.*?)\n+\[Question\]", re.DOTALL)


def answer(messages: Sequence[Message]) -> str:
    """The reply to the last message."""
    prompt = messages[-1].content if messages else ""
    if described := _CONTEXT.search(prompt):
        context = read_context(described[1])
        return foreign.description(context) if context.captions else foreign.NOTHING_KNOWN
    # Where it is asked again with two answers, the question stands before them.
    if not (found := _QUESTION.search(prompt)):
        return NO_ANSWER
    return solve(found["question"], found["context"], _OPTION.findall(found["options"]))


def solve(question: str, context: str, options: Sequence[tuple[str, str]]) -> str:
    """The answer to one question; NO_ANSWER unless the context holds for exactly one option and against the rest."""
    facts = facts_of((context,))
    right = [letter for letter, words in options if _holds(question, words, facts)]
    return f"The context settles it. The answer is {right[0]}." if len(right) == 1 else NO_ANSWER


def _holds(question: str, words: str, facts: Facts) -> bool:
    made = claims(words, question)
    return bool(made) and all(check(claim, facts) for claim in made)
