"""Names of objects, by language: what claims one in an answer, and what allows the claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from configs.schema import LanguageCode
from tasks.generate.languages.known import LANGUAGES
from tasks.names import Name, with_plural


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
            yield from with_plural(words) if code == "en" else (words,)
