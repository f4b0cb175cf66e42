"""Personal data and secrets in text, found by their form: what is found is held for a person to look at.

Looked for: email addresses, phone numbers, payment cards (with a right check digit), resident identity numbers of
China (likewise), and keys of interfaces. Not looked for: names, addresses, and whatever an image shows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}")
PHONES = (
    re.compile(r"(?<![\w.])\+\d{1,3}[ ./()-]{0,2}(?:\d[ ./()-]{0,2}){6,13}\d(?!\w)"),
    re.compile(r"(?<!\d)1[3-9]\d[ -]?\d{4}[ -]?\d{4}(?!\d)"),
    re.compile(r"(?<![\w.-])(?:\(\d{2,5}\) ?|0\d{1,4}[ ./-])\d{3,4}[ ./-]?\d{3,4}(?!\w)"),
    re.compile(r"(?<![\w.-])\d{3}[ .-]\d{3}[ .-]\d{4}(?![\w-])"),
    re.compile(r"(?<![\w.,])0\d{9,10}(?![\w,])"),
)
"""International; mobile numbers of China; an area code and a number; North America; a national one in one piece."""
CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
RESIDENT = re.compile(r"(?<!\d)\d{17}[\dXx](?![\dA-Za-z])")
KEYS = re.compile(
    r"(?:\bsk-[A-Za-z0-9_-]{16,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_\w{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{16,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[A-Za-z0-9_-]{30,}|\bhf_[A-Za-z0-9]{20,}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|(?i:\b(?:api[_ -]?key|secret|password|token)\b\s*[:=]\s*\S{12,}))"
)
RESIDENT_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
RESIDENT_CHECKS = "10X98765432"


def findings(texts: Iterable[str]) -> tuple[str, ...]:
    """Kinds of personal data that occur in the texts, in a fixed order; empty if none was found."""
    whole = "\n\n".join(texts)
    return tuple(kind for kind, found in KINDS if found(whole))


def passes_luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_resident_number(text: str) -> bool:
    """Whether the last character is the check of the others (GB 11643-1999: ISO 7064, MOD 11-2)."""
    total = sum(int(digit) * weight for digit, weight in zip(text[:17], RESIDENT_WEIGHTS, strict=True))
    return RESIDENT_CHECKS[total % 11] == text[17].upper()


def _card(text: str) -> bool:
    numbers = (re.sub(r"[ -]", "", found) for found in CARD.findall(text))
    return any(passes_luhn(number) and len(set(number)) > 1 for number in numbers)


def _resident(text: str) -> bool:
    return any(is_resident_number(found) for found in RESIDENT.findall(text))


def _phone(text: str) -> bool:
    return any(pattern.search(text) for pattern in PHONES)


KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("email address", lambda text: EMAIL.search(text) is not None),
    ("phone number", _phone),
    ("card number", _card),
    ("identity number", _resident),
    ("key or password", lambda text: KEYS.search(text) is not None),
)
