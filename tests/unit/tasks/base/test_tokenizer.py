from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from model.records import IMAGE_TOKEN
from tasks.base.tokenizer import SPECIALS, train_tokenizer

CORPUS = ["The ball is red. (A) the cube (B) the ball", "What colour is the ball in the top left?"] * 3
TOKENIZER = train_tokenizer(CORPUS, 360)


@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_went_in(text: str) -> None:
    assume(not any(special in text for special in SPECIALS))
    assert TOKENIZER.decode(TOKENIZER.backend_tokenizer.encode(text, add_special_tokens=False).ids) == text


def test_a_text_starts_with_bos_and_special_tokens_have_their_names() -> None:
    assert TOKENIZER("The ball")["input_ids"][0] == TOKENIZER.bos_token_id
    assert [TOKENIZER.convert_tokens_to_ids(name) for name in SPECIALS] == list(range(len(SPECIALS)))
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token, SPECIALS[-1]) == ("</s>", "<pad>", IMAGE_TOKEN)


def test_it_keeps_to_its_size_and_is_the_same_for_the_same_corpus() -> None:
    assert len(TOKENIZER) <= 360
    again = train_tokenizer(CORPUS, 360)
    assert again.backend_tokenizer.to_str() == TOKENIZER.backend_tokenizer.to_str()


def test_the_label_of_a_choice_is_one_token() -> None:
    assert [TOKENIZER.decode(at) for at in TOKENIZER(" (A) the", add_special_tokens=False)["input_ids"]] == [
        " (A)", " the",
    ]
