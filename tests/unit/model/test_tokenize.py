from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from model.errors import ModelError
from model.records import IMAGE_TOKEN, Sample, Turn
from model.templates import template_named
from model.tokenize import IGNORE, ConversationTokenizer, Unusable
from tests.fakes.tiny_base import byte_level_tokenizer, sentencepiece_tokenizer

LONG = 100_000
IMAGE_TOKENS = 3
MARKERS = (
    "</s>", "<s>", "<pad>", "<unk>", IMAGE_TOKEN, "USER:", " ASSISTANT:", "\n###", "###", "<|im_end|>", "\n", "  ", "",
)


def conversations(template: str, tokenizer: PreTrainedTokenizerFast | None = None) -> ConversationTokenizer:
    tokenizer = tokenizer or byte_level_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    image_id = int(str(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)))
    return ConversationTokenizer(tokenizer, template_named(template), IMAGE_TOKENS, image_id)


ASKING = ("bare", "v1", "v0", "llama_2", "mpt", "chatml")
TOKENIZERS = {name: conversations(name) for name in (*ASKING, "plain")}
ORDINARY = {
    "one round": (("What colour is the ball?", "The ball is red."),),
    "three rounds": (
        ("Which shape is left of the cube?", "It shows a small green ball."),
        ("Sure?", "Yes, it's there; look: 1, 2, 3!"),
        ("Say it in French.", "Une balle bleue, \u00e0 gauche \U0001f600."),
    ),
    "lines": (("Name them:\n(A) red\n(B) blue", "(A) and\n(B)."),),
    "apostrophes": (("What's \"it\"?", "It isn't 'red' {{ nor }} {% blue %} \\n."),),
}


def sample(rounds: Sequence[tuple[str, str]], *, image: bool) -> Sample:
    turns: list[Turn] = []
    for at, (asked, answer) in enumerate(rounds):
        front = f"{IMAGE_TOKEN}\n" if image and at == 0 else ""
        turns += [Turn(role="human", text=front + asked), Turn(role="gpt", text=answer)]
    return Sample(id="s", image="1" if image else None, kind="conversation", conversations=tuple(turns))


def runs(labels: Sequence[int]) -> list[list[int]]:
    """The supervised tokens, one list an answer."""
    return [list(group) for supervised, group in groupby(labels, lambda label: label != IGNORE) if supervised]


words = st.lists(st.one_of(st.text(max_size=12), st.sampled_from(MARKERS)), max_size=4).map("".join)
asked = words.map(lambda text: text.replace(IMAGE_TOKEN, ""))
rounds_of_words = st.lists(st.tuples(asked, words), min_size=1, max_size=3)


@pytest.mark.parametrize("template", ASKING)
@given(rounds=rounds_of_words, image=st.booleans())
def test_supervised_tokens_decode_to_exactly_each_answer_and_its_end_mark(
    template: str, rounds: list[tuple[str, str]], image: bool
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    tokenizer = TOKENIZERS[template]
    encoded = tokenizer.encode(sample(rounds, image=image), LONG)
    end = tokenizer.template.end_mark(tokenizer.eos)
    decoded = [tokenizer.tokenizer.decode(run) for run in runs(encoded.labels)]
    before = tokenizer.template.before_words
    assert decoded == [f"{before}{answer}{end}" for _, answer in rounds]


@given(rounds=rounds_of_words, image=st.booleans())
def test_words_never_become_special_tokens(rounds: list[tuple[str, str]], image: bool) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    tokenizer = TOKENIZERS["bare"]
    encoded = tokenizer.encode(sample(rounds, image=image), LONG)
    special = [at for at in encoded.ids if at in tokenizer.tokenizer.all_special_ids]
    shown = [tokenizer.image_token_id] * (IMAGE_TOKENS if image else 0)
    assert special == [tokenizer.tokenizer.bos_token_id, *shown, *[tokenizer.tokenizer.eos_token_id] * len(rounds)]


@pytest.mark.parametrize("template", [*ASKING, "plain"])
@given(rounds=rounds_of_words, image=st.booleans())
def test_the_prompt_of_each_round_is_a_prefix_of_what_is_trained_on(
    template: str, rounds: list[tuple[str, str]], image: bool
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    tokenizer, trained = TOKENIZERS[template], sample(rounds, image=image)
    encoded = tokenizer.encode(trained, LONG)
    for last in range(1, len(trained.conversations), 2):
        prompt = tokenizer.prompt(trained.conversations[:last])
        assert list(encoded.ids[: len(prompt)]) == prompt
        assert encoded.labels[len(prompt)] != IGNORE


def test_each_image_token_becomes_features_and_truncation_takes_whole_rounds_with_theirs() -> None:
    tokenizer = TOKENIZERS["bare"]
    texts = ("<image>\n<image>\nCompare.", "So.", "And <image>?", "Alike.")
    turns = tuple(Turn(role="gpt" if at % 2 else "human", text=text) for at, text in enumerate(texts))
    three = Sample(id="s", image="a", more_images=("b", "c"), kind="given", conversations=turns)
    encoded = tokenizer.encode(three, LONG)
    assert tokenizer.images_in(encoded) == 3
    assert encoded.ids.count(tokenizer.image_token_id) == 3 * IMAGE_TOKENS
    cut = tokenizer.encode(three, len(encoded.ids) - 1)
    assert (tokenizer.images_in(cut), cut.dropped_turns) == (2, 2)


def messages(trained: Sample) -> list[dict[str, Any]]:
    roles = {"human": "user", "gpt": "assistant"}
    return [{"role": roles[turn.role], "content": turn.text} for turn in trained.conversations]


@pytest.mark.parametrize("image", [True, False])
@pytest.mark.parametrize("rounds", ORDINARY.values(), ids=ORDINARY)
@pytest.mark.parametrize("template", ASKING)
def test_the_chat_template_of_transformers_gives_the_same_ids_and_the_same_supervision(
    template: str, rounds: Sequence[tuple[str, str]], image: bool
) -> None:
    tokenizer, trained = TOKENIZERS[template], sample(rounds, image=image)
    encoded = tokenizer.encode(trained, LONG)
    jinja = tokenizer.template.jinja(tokenizer.eos)
    text = tokenizer.tokenizer.apply_chat_template(messages(trained), chat_template=jinja, tokenize=False)
    assert isinstance(text, str)
    plain = tokenizer.tokenizer(text.replace(IMAGE_TOKEN, IMAGE_TOKEN * IMAGE_TOKENS))["input_ids"]
    assert plain == list(encoded.ids)
    if not image:
        told: Any = tokenizer.tokenizer.apply_chat_template(
            messages(trained), chat_template=jinja, return_dict=True, return_assistant_tokens_mask=True
        )
        mask = [label != IGNORE for label in encoded.labels][1:]
        assert [bool(part) for part in told["assistant_masks"]] == mask


def test_the_chat_template_takes_content_in_parts_with_the_image_first() -> None:
    tokenizer = TOKENIZERS["v1"]
    jinja = tokenizer.template.jinja(tokenizer.eos)
    parts: Any = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]
    plain: Any = [{"role": "user", "content": f"{IMAGE_TOKEN}\nWhat?"}]
    rendered = [
        tokenizer.tokenizer.apply_chat_template(told, chat_template=jinja, tokenize=False) for told in (parts, plain)
    ]
    assert rendered[0] == rendered[1]


def test_plain_shows_the_image_and_learns_the_caption_and_a_newline() -> None:
    tokenizer = TOKENIZERS["plain"]
    encoded = tokenizer.encode(sample([("Describe it.", "A red ball.")], image=True), LONG)
    caption = tokenizer.tokenizer("A red ball.\n", add_special_tokens=False)["input_ids"]
    shown = [tokenizer.tokenizer.bos_token_id, *[tokenizer.image_token_id] * IMAGE_TOKENS]
    assert list(encoded.ids) == [*shown, *caption]
    assert list(encoded.labels) == [*[IGNORE] * len(shown), *caption]
    told = [{"role": "user", "content": IMAGE_TOKEN}, {"role": "assistant", "content": "A red ball."}]
    jinja = tokenizer.template.jinja(tokenizer.eos)
    text = str(tokenizer.tokenizer.apply_chat_template(told, chat_template=jinja, tokenize=False))
    assert tokenizer.tokenizer(text.replace(IMAGE_TOKEN, IMAGE_TOKEN * IMAGE_TOKENS))["input_ids"] == list(encoded.ids)


@given(rounds=rounds_of_words)
def test_a_sentencepiece_tokenizer_is_supervised_right_or_the_sample_is_set_aside(
    rounds: list[tuple[str, str]]
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    try:
        encoded = SENTENCEPIECE.encode(sample(rounds, image=False), LONG)
    except Unusable:
        return
    # Its decoder takes the space in front off again.
    decoded = [SENTENCEPIECE.tokenizer.decode(run) for run in runs(encoded.labels)]
    assert decoded == [f"{answer}</s>" for _, answer in rounds]


SENTENCEPIECE = conversations("v1", sentencepiece_tokenizer())


@pytest.mark.parametrize("rounds", ORDINARY.values(), ids=ORDINARY)
def test_with_a_sentencepiece_tokenizer_transformers_sees_the_same_ids(rounds: Sequence[tuple[str, str]]) -> None:
    trained = sample(rounds, image=False)
    jinja = SENTENCEPIECE.template.jinja(SENTENCEPIECE.eos)
    text = str(SENTENCEPIECE.tokenizer.apply_chat_template(messages(trained), chat_template=jinja, tokenize=False))
    assert tuple(SENTENCEPIECE.tokenizer(text)["input_ids"]) == SENTENCEPIECE.encode(trained, LONG).ids


@given(rounds=st.lists(st.tuples(st.just("Why?"), st.text("ab ", max_size=30)), min_size=1, max_size=4))
def test_what_does_not_fit_loses_whole_trailing_rounds(rounds: list[tuple[str, str]]) -> None:
    tokenizer, whole = TOKENIZERS["bare"], sample(rounds, image=False)
    sizes = [len(tokenizer.encode(sample(rounds[:kept], image=False), LONG).ids) for kept in range(1, len(rounds) + 1)]
    for kept, size in enumerate(sizes, start=1):
        encoded = tokenizer.encode(whole, size)
        assert encoded.ids == tokenizer.encode(sample(rounds[:kept], image=False), LONG).ids
        assert (encoded.turns, encoded.dropped_turns) == (2 * kept, 2 * (len(rounds) - kept))
    with pytest.raises(Unusable, match="first round longer than max_length"):
        tokenizer.encode(whole, sizes[0] - 1)


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="has no eos token"):
        ConversationTokenizer(tokenizer, template_named("bare"), 1, 0)
