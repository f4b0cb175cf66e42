"""Whether a conversation is in the language that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from model.records import Turn
from tasks.generate.languages.base import Language
from tasks.generate.parse import Rejected


def wrong_language(turns: Sequence[Turn], language: Language) -> Rejected | None:
    """The fault of turns in another language. Each role is looked at by itself: a foreign question is one, too."""
    for role, part in (("human", "questions"), ("gpt", "answers")):
        if not language.is_written("\n".join(turn.text for turn in turns if turn.role == role)):
            return Rejected("language", f"its {part} are not in the language that was asked for ({language.code})")
    return None
