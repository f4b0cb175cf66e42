from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import assume, given

from model.errors import ModelError
from model.own_template import OwnTemplate, template_for
from model.records import IMAGE_TOKEN, Turn
from model.templates import AlteredWords
from model.tokenize import IGNORE, ConversationTokenizer, Unusable
from tests.fakes.tiny_base import byte_level_tokenizer
from tests.unit.model.test_tokenize import LONG, messages, rounds_of_words, runs, sample

CHATML = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou help."
    "<|im_end|>\n{% endif %}{% if message['role'] == 'assistant' %}<|im_start|>assistant\n{% generation %}"
    "{{ message['content'] + '<|im_end|>' }}{% endgeneration %}\n{% else %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPACED = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}[INST] {{ message['content'] }}"
    " [/INST]{% else %}{% generation %} {{ message['content'] }}{{ eos_token }}{% endgeneration %}{% endif %}"
    "{% endfor %}"
)
TURNS = (Turn(role="human", text="Why?"), Turn(role="gpt", text="So."))


def conversations(source: str) -> ConversationTokenizer:
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN, "<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = source
    image_id = int(str(tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)))
    return ConversationTokenizer(tokenizer, template_for("own", tokenizer), 3, image_id)


OWN = {"chatml": conversations(CHATML), "spaced": conversations(SPACED)}


def template(source: str) -> OwnTemplate:
    return OwnTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})


@pytest.mark.parametrize("name", OWN)
@given(rounds=rounds_of_words)
def test_supervised_tokens_decode_to_exactly_each_answer_and_its_end_mark(
    name: str, rounds: Sequence[tuple[str, str]]
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    tokenizer = OWN[name]
    encoded = tokenizer.encode(sample(rounds, image=True), LONG)
    before, end = tokenizer.template.before_words, tokenizer.template.end_mark(tokenizer.eos)
    decoded = [tokenizer.tokenizer.decode(run) for run in runs(encoded.labels)]
    assert decoded == [f"{before}{answer}{end}" for _, answer in rounds]
    assert list(encoded.ids).count(tokenizer.image_token_id) == 3


@pytest.mark.parametrize("name", OWN)
@given(rounds=rounds_of_words)
def test_the_prompt_of_each_round_is_a_prefix_of_what_is_trained_on(
    name: str, rounds: Sequence[tuple[str, str]]
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    tokenizer, trained = OWN[name], sample(rounds, image=False)
    encoded = tokenizer.encode(trained, LONG)
    for last in range(1, len(trained.conversations), 2):
        prompt = tokenizer.prompt(trained.conversations[:last])
        assert list(encoded.ids[: len(prompt)]) == prompt
        assert encoded.labels[len(prompt)] != IGNORE


@pytest.mark.parametrize("name", OWN)
def test_transformers_sees_the_same_ids_and_the_same_supervision(name: str) -> None:
    tokenizer = OWN[name]
    trained = sample([("What colour is it?", "It is red."), ("Sure?", "Yes, it's there.")], image=False)
    encoded = tokenizer.encode(trained, LONG)
    told = tokenizer.tokenizer.apply_chat_template(
        messages(trained), return_dict=True, return_assistant_tokens_mask=True
    )
    assert tuple(told["input_ids"]) == encoded.ids  # type: ignore[index, call-overload]
    mask = [bool(part) for part in told["assistant_masks"]]  # type: ignore[index, call-overload]
    assert mask == [label != IGNORE for label in encoded.labels]


def test_the_saved_template_is_the_model_s_own() -> None:
    assert template(CHATML).jinja("</s>") == CHATML


def test_a_template_without_generation_spans_is_refused_with_the_remedy() -> None:
    plain = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    with pytest.raises(ModelError, match=r"no \{% generation %\} spans.*put a template with them"):
        template(plain)


def test_a_tokenizer_without_a_template_is_refused() -> None:
    with pytest.raises(ModelError, match="has no chat template; name another"):
        template_for("own", byte_level_tokenizer())


def test_a_template_that_asks_with_other_text_than_it_trains_on_is_refused() -> None:
    thinking = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>{% endif %}")
    with pytest.raises(ModelError, match="asks for an answer with other text"):
        template(thinking)


def test_spans_around_something_else_than_the_answers_are_refused() -> None:
    wrong = SPACED.replace("{% generation %} ", " ").replace("{% endgeneration %}", "")
    wrong = wrong.replace("[INST] {{ message['content'] }}", "[INST] {% generation %}{{ message['content'] }}")
    wrong = wrong.replace(" [/INST]", "{% endgeneration %} [/INST]")
    with pytest.raises(ModelError, match="are not its answers"):
        template(wrong)


def test_a_template_that_leaves_turns_out_is_refused() -> None:
    with pytest.raises(ModelError, match="does not show every turn once"):
        template(SPACED.replace("for message in messages", "for message in messages[-1:]"))


def test_a_template_that_trims_sets_aside_only_samples_that_it_would_change() -> None:
    trimming = SPACED.replace("{{ message['content'] }}{{ eos", "{{ message['content'] | trim }}{{ eos")
    assert template(trimming).rounds(TURNS, "</s>") == template(SPACED).rounds(TURNS, "</s>")
    spaced = (TURNS[0], Turn(role="gpt", text="So. "))
    with pytest.raises(AlteredWords):
        template(trimming).rounds(spaced, "</s>")
    with pytest.raises(Unusable, match="alters the words"):
        conversations(trimming).encode(sample([("Why?", "So. ")], image=False), LONG)
