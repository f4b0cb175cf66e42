"""What rules can say of pictures that are not of the embedded world: little, but nothing that is not in the prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from tasks.scripted.context import Context
from tasks.world.words import listed

SPELT = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
NOTHING_KNOWN = "I cannot answer this: nothing is known about the picture."
NO_QUESTION = "I cannot answer this: a question that takes thought needs objects, and none are known."


def conversation(context: Context) -> list[tuple[str, str]]:
    """What captions say, asked for in turn."""
    questions = ("What does the picture show?", "What else can you say about it?", "Is there more to see?")
    return list(zip(questions, map(_sentence, context.captions), strict=False))


def description(context: Context) -> str:
    """Captions as sentences, then the objects by number and side."""
    lines = [_sentence(caption) for caption in context.captions]
    kinds = Counter(box.category for box in context.boxes)
    if kinds:
        lines.append(f"Objects in the picture: {_numbered(kinds.items())}.")
    for kind in (kind for kind, number in kinds.items() if number == 1):
        x1, _, x2, _ = next(box.box for box in context.boxes if box.category == kind)
        middle = (x1 + x2) / 2
        side = "on the left" if middle < 0.4 else "on the right" if middle > 0.6 else "near the middle"
        lines.append(f"The {kind} is {side}.")
    return " ".join(lines)


def thinking(context: Context) -> tuple[str, str] | None:
    """Which kind of object occurs most often; None without objects."""
    kinds = Counter(box.category for box in context.boxes).most_common()
    if not kinds:
        return None
    if len(kinds) > 1 and kinds[0][1] == kinds[1][1]:
        verdict = "No kind occurs more often than every other."
    else:
        verdict = f"The most frequent kind is {kinds[0][0]}."
    return "Which kind of object occurs most often here?", f"The objects are: {_numbered(kinds)}. {verdict}"


def _numbered(kinds: Iterable[tuple[str, int]]) -> str:
    return listed([f"{kind} ({spelt(number)})" for kind, number in kinds])


def spelt(number: int) -> str:
    """A number in words where it is small."""
    return SPELT[number] if number < len(SPELT) else str(number)


def _sentence(caption: str) -> str:
    text = caption.strip().rstrip(".! ")
    return f"{text[:1].upper()}{text[1:]}."
