"""Names of things, word by word, and finding them in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

Name = tuple[str, ...]
ENGLISH_WORD = re.compile(r"[^\W_]+(?:['\u2019][a-z]+)?")


class Matcher:
    """Finds names, each of which stands for some categories, in the words of a text."""

    def __init__(self, names: dict[Name, frozenset[str]]) -> None:
        self.names = names
        sizes: dict[str, set[int]] = {}
        for name in names:
            sizes.setdefault(name[0], set()).add(len(name))
        # Most words begin no name: they cost one look-up.
        self._sizes = {first: tuple(sorted(lengths, reverse=True)) for first, lengths in sizes.items()}

    def longest(self, words: Sequence[str]) -> Iterator[tuple[int, frozenset[str]]]:
        """(place, categories) of every name, longest first, none within another: no `dog` in `hot dog`."""
        end = 0
        for at, word in enumerate(words):
            if at < end:
                continue
            for size in self._sizes.get(word, ()):
                categories = self.names.get(tuple(words[at : at + size]))
                if categories is not None:
                    yield at, categories
                    end = at + size
                    break

    def all(self, words: Sequence[str]) -> set[str]:
        """The categories of every name, also of those within others."""
        found: set[str] = set()
        for at, word in enumerate(words):
            for size in self._sizes.get(word, ()):
                found.update(self.names.get(tuple(words[at : at + size]), ()))
        return found


def english_words(text: str) -> list[str]:
    """Words of an English text in lower case."""
    return ENGLISH_WORD.findall(text.lower())


def with_plural(words: Name) -> tuple[Name, Name]:
    """An English name and its regular plural."""
    return words, (*words[:-1], words[-1] + ("es" if words[-1].endswith(("s", "x", "ch", "sh")) else "s"))
