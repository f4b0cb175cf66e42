"""The few words of the world and how they join: articles, lists, numbers."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.world.scene import Thing

NUMBERS: tuple[str, ...] = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RELATIONS: tuple[str, ...] = ("left of", "right of", "above", "below")
OPPOSITES: dict[str, str] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def name_of(thing: Thing, *, sized: bool = False) -> str:
    """Noun phrase without an article: red circle, large red circle."""
    return f"{thing.size} {thing.colour} {thing.shape}" if sized else f"{thing.colour} {thing.shape}"


def with_article(noun: str) -> str:
    """A red circle, an orange star."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listed(parts: Sequence[str]) -> str:
    """One, two and three, as an English list."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def counted(number: int, noun: str) -> str:
    """One object, two objects."""
    return f"{NUMBERS[number]} {noun}{'' if number == 1 else 's'}"


def sentence(text: str, mark: str = ".") -> str:
    """First letter capital, final mark."""
    return text[0].upper() + text[1:] + mark


def number_of(word: str) -> int:
    """The number that a word or digit stands for."""
    return int(word) if word.isdigit() else NUMBERS.index(word)
