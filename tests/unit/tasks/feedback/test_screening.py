from __future__ import annotations

import pytest

from tasks.feedback.screening import findings, is_resident_number, passes_luhn


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to ann.lee+x@mail.example.org please", "email address"),
        ("call +49 (30) 1234-5678", "phone number"),
        ("+8613812345678", "phone number"),
        ("电话13812345678。", "phone number"),
        ("(030) 123-4567", "phone number"),
        ("555 123 4567", "phone number"),
        ("my card is 4111 1111 1111 1111, ok?", "card number"),
        ("5500-0000-0000-0004", "card number"),
        ("身份证11010519491231002X", "identity number"),
        ("sk-proj-abcdEFGH1234567890xyz", "key or password"),
        ("AKIAIOSFODNN7EXAMPLE", "key or password"),
        ("ghp_" + "a1B2" * 9, "key or password"),
        ("hf_" + "aB" * 17, "key or password"),
        ("api_key = 0123456789abcdef", "key or password"),
        ("-----BEGIN RSA PRIVATE KEY-----", "key or password"),
    ],
)
def test_personal_data_and_secrets_are_found_by_their_form(text: str, kind: str) -> None:
    assert kind in findings(["nothing here", text])


@pytest.mark.parametrize(
    "text",
    [
        "There are 3 red circles and 12 blue squares.",
        "The year 2024 saw 1,234,567 visitors, 3.14159265358979 times as many.",
        "4111 1111 1111 1112 fails its check digit",
        "bbox 0.123, 0.456, 0.789, 0.999 at 1280 x 720",
        "Born 1949-12-31, ISO date 2026-11-22T12:00:00",
        "me @ home, user@localhost",
        "sk-8 is a road; the token of my love",
        "",
    ],
)
def test_what_only_looks_like_it_is_not(text: str) -> None:
    assert findings([text]) == ()


def test_check_digits_are_those_of_the_standards() -> None:
    assert passes_luhn("79927398713") and not passes_luhn("79927398710")
    assert is_resident_number("11010519491231002X") and not is_resident_number("110105194912310021")
