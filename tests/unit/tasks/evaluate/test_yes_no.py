"""Each rule reads yes and no as its published script does; what says neither is never lucky."""

from __future__ import annotations

import pytest

from tasks.evaluate.yes_no import YesNoRule, read_yes_no


@pytest.mark.parametrize(
    ("text", "llava", "strict", "mme"),
    [
        ("Yes", "yes", "yes", "yes"),
        ("no", "no", "no", "no"),
        ("No, there is no dog.", "no", "no", "no"),
        ("There is not a dog. Yes.", "no", None, None),
        ("NO", "yes", "no", "no"),  # the published script knows No and no only
        ("A dog", "yes", None, None),
        ("yes or no", "no", None, "yes"),
        ("  Yes.\r\n", "yes", "yes", "yes"),
        ("None of them", "yes", None, "no"),  # the first four letters hold a no
        ("", None, None, None),
        (" \n", None, None, None),
    ],
)
def test_rules(text: str, llava: str | None, strict: str | None, mme: str | None) -> None:
    assert [read_yes_no(text, rule) for rule in (YesNoRule.LLAVA, YesNoRule.STRICT, YesNoRule.MME)] == [
        llava, strict, mme,
    ]
