"""The objects that a caption names: words and synonyms of COCO's 80 categories, as CHAIR finds them.

CHAIR: Rohrbach et al. 2018, "Object Hallucination in Image Captioning" (EMNLP). A caption's words are matched against
names of the categories, the longest first. The published list of synonyms is not ours; `coco_objects.txt` is.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tasks.artifacts import digest_of
from tasks.names import Matcher, Name, english_words, with_plural

WORDS = Path(__file__).with_name("coco_objects.txt")
NOTHING = "-"
"""Stands for a category where words name none."""


def named_in(text: str) -> list[str]:
    """The categories that a text names, once a mention, in its order."""
    found = _matcher().longest(english_words(text))
    return [category for _, categories in found for category in sorted(categories) if category != NOTHING]


def words_digest() -> str:
    """Digest of the list, which tells results by it from those by another."""
    return digest_of(WORDS.read_text(encoding="utf-8"))


@cache
def categories() -> frozenset[str]:
    """The categories that the list knows."""
    known: set[str] = set().union(*_matcher().names.values())
    return frozenset(known - {NOTHING})


@cache
def _matcher() -> Matcher:
    names: dict[Name, frozenset[str]] = {}
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        category, _, others = line.partition("|")
        of = category.strip()
        for name in (*(() if of == NOTHING else (of,)), *others.split(",")):
            if words := tuple(english_words(name)):
                names |= dict.fromkeys(with_plural(words), frozenset({of}))
    return Matcher(names)
