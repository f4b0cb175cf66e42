"""Text of a source made fit to be written: no control characters, no half characters, bounded in length."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNWANTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but for line ends and tabs, and surrogates, which JSON can escape and UTF-8 cannot hold."""


def clean(text: str) -> str:
    """The text without control characters and surrogates; line ends become \\n."""
    return UNWANTED.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def clean_line(text: str) -> str:
    """The text on one line."""
    return clean(" ".join(text.split()))


def clean_captions(captions: Iterable[str]) -> tuple[str, ...]:
    """Captions on one line each, without empty ones."""
    return tuple(text for caption in captions if (text := clean_line(caption).strip()))


def too_long(texts: Iterable[str], most: int) -> str:
    """What is wrong with the first text longer than so many characters; empty where none is."""
    return next((f"{len(text)} characters, {most} allowed" for text in texts if len(text) > most), "")
