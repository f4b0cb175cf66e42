"""Names of objects, word by word, and finding them in a text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.schema import LanguageCode
from tasks.generate.languages.known import LANGUAGES

Name = tuple[str, ...]


class Matcher:
    """Finds names, each of which stands for some categories, in the words of a text."""

    def __init__(self, names: dict[Name, frozenset[str]]) -> None:
        self.names = names
        self._longest: dict[str, int] = {}
        for name in names:
            self._longest[name[0]] = max(len(name), self._longest.get(name[0], 0))

    def longest(self, words: Sequence[str]) -> Iterator[tuple[int, frozenset[str]]]:
        """(place, categories) of every name, longest first, none within another: no `dog` in `hot dog`."""
        at = 0
        while at < len(words):
            size = next(self._sizes(words, at), 0)
            if size:
                yield at, self.names[tuple(words[at : at + size])]
            at += size or 1

    def all(self, words: Sequence[str]) -> set[str]:
        """The categories of every name, also of those within others."""
        found: set[str] = set()
        for at in range(len(words)):
            for size in self._sizes(words, at):
                found |= self.names[tuple(words[at : at + size])]
        return found

    def _sizes(self, words: Sequence[str], at: int) -> Iterator[int]:
        for size in range(min(self._longest.get(words[at], 0), len(words) - at), 0, -1):
            if tuple(words[at : at + size]) in self.names:
                yield size


@dataclass(frozen=True)
class Names:
    """The names of a language's data file: what claims a category, and what (claims included) allows it."""

    claims: dict[Name, frozenset[str]]
    allows: dict[Name, frozenset[str]]


@cache
def names_of(code: LanguageCode) -> Names:
    """The names in `objects_<code>.txt`."""
    claims: dict[Name, frozenset[str]] = {}
    allows: dict[Name, frozenset[str]] = {}
    for line in Path(__file__).with_name(f"objects_{code}.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        category, claiming, allowing = (part.strip() for part in line.split("|"))
        for name in forms(claiming.split(","), code):
            claims[name] = claims.get(name, frozenset()) | {category}
        for name in forms([category, *claiming.split(","), *allowing.split(",")], code):
            allows[name] = allows.get(name, frozenset()) | {category}
    return Names(claims, allows)


def forms(names: Iterable[str], code: LanguageCode) -> Iterator[Name]:
    """Names as words, with their plurals where the language has any."""
    for name in names:
        words = tuple(LANGUAGES[code].words(name))
        if words:
            yield words
            if code == "en":
                yield (*words[:-1], words[-1] + ("es" if words[-1].endswith(("s", "x", "ch", "sh")) else "s"))
