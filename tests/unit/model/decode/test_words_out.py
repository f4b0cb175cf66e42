"""What is shown of an answer as it comes is, in sum, the whole answer, cut at the first stop text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from model.decode.words_out import WordsOut


def letters() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


TOKENIZER = letters()


def shown(text: str, *stop: str) -> list[str]:
    out = WordsOut(TOKENIZER, stop)
    return [*(out.take(token) for token in TOKENIZER.encode(text).ids), out.rest()]


@given(
    st.text(alphabet="ab \n é漢🙂#", max_size=40),
    st.lists(st.text(alphabet="ab #", min_size=1, max_size=4), max_size=2),
)
def test_the_pieces_sum_to_the_answer_cut_at_its_first_stop(text: str, stop: list[str]) -> None:
    told = text.lstrip()
    assert "".join(shown(text, *stop)) == told[: cut_of(told, stop)].strip()


def cut_of(told: str, stop: list[str]) -> int:
    """Where the answer ends: at the beginning of the stop text that is whole first, letter by letter."""
    for end in range(len(told) + 1):
        if found := [at for one in stop if (at := told[:end].find(one)) >= 0]:
            return min(found)
    return len(told)


def test_words_are_shown_as_soon_as_they_are_sure() -> None:
    assert shown("ab##", "###") == ["a", "b", "", "", "##"]
    assert shown("a b") == ["a", "", " b", ""]
    assert shown("é") == ["", "é", ""]


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_an_answer_of_nothing_is_nothing(text: str) -> None:
    assert "".join(shown(text)) == ""
