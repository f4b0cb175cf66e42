"""Objects that answers claim and that neither captions nor boxes support.

A measure, no proof: the words are those of a lexicon (COCO's categories and what people call them, and whatever else
the boxes of the image set name), captions leave things out, and knowledge that an answer brings in may name things
that are not in the picture. CHAIR (Rohrbach et al. 2018, "Object Hallucination in Image Captioning") counts in the
same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from configs.schema import LanguageCode
from model.records import AnnotatedImage, Turn
from tasks.generate.checks.names import forms, names_of
from tasks.generate.languages.known import LANGUAGES
from tasks.names import Matcher

NEGATIONS = frozenset((
    "no", "not", "without", "never", "neither", "nor", "none", "nobody", "isn't", "aren't", "doesn't", "don't",
    "\u6ca1", "\u65e0", "\u4e0d",
))
NEGATED_WITHIN = 4
"""So many words before a name, a negation makes it no claim."""


class Lexicon:
    """What answers in a language may claim, and what supports it. `categories` are those that boxes name."""

    def __init__(self, code: LanguageCode, categories: Iterable[str] = ()) -> None:
        self._words = LANGUAGES[code].words
        own = {category for allowed in names_of("en").allows.values() for category in allowed}
        others = {
            name: frozenset({category})
            for category in sorted(set(categories) - own) for name in forms([category], "en")
        }
        self._claims = Matcher(others | names_of(code).claims)
        self._allows = {known: Matcher(others | names_of(known).allows) for known in LANGUAGES}

    def claimed(self, turns: Sequence[Turn]) -> list[str]:
        """The categories that the answers claim, in their order, once a mention. Negated ones are none."""
        found: list[str] = []
        for turn in turns:
            if turn.role == "gpt":
                words = self._words(turn.text)
                for at, categories in self._claims.longest(words):
                    if NEGATIONS.isdisjoint(words[max(0, at - NEGATED_WITHIN) : at]):
                        found += sorted(categories)
        return found

    def supported(self, image: AnnotatedImage) -> set[str]:
        """The categories that captions, in whatever language, and boxes of an image speak of."""
        allowed = {box.category for box in image.boxes}
        text = "\n".join(image.captions)
        for code, names in self._allows.items():
            # Most captions are in plain English, which has no words of the others.
            if code == "en" or not text.isascii():
                allowed |= names.all(LANGUAGES[code].words(text))
        return allowed

    def unsupported(self, claimed: Sequence[str], image: AnnotatedImage) -> tuple[str, ...]:
        """Those of the claimed categories that nothing known of the image supports."""
        if not claimed:
            return ()
        allowed = self.supported(image)
        return tuple(category for category in claimed if category not in allowed)
