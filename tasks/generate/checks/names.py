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
