"""The languages there are, by the code that `generate.language` names."""

from __future__ import annotations

from configs.schema import LanguageCode
from tasks.generate.languages.base import Language
from tasks.generate.languages.chinese import CHINESE
from tasks.generate.languages.english import ENGLISH

LANGUAGES: dict[LanguageCode, Language] = {"en": ENGLISH, "zh": CHINESE}
