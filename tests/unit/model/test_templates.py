from __future__ import annotations

import pytest

from model.errors import ModelError
from model.records import Turn
from model.templates import TEMPLATES, template_named

TURNS = [
    Turn(role="human", text="<image>\nWhat?"), Turn(role="gpt", text="A ball."),
    Turn(role="human", text="Sure?"), Turn(role="gpt", text="Yes."),
]
CURIOUS = (
    "A chat between a curious {0} and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the {0}'s questions."
)
RENDERED = {
    "plain": "<image>A ball.\nYes.\n",
    "v0": CURIOUS.format("human")
    + "\n### Human: <image>\nWhat?\n### Assistant: A ball.\n###\n### Human: Sure?\n### Assistant: Yes.\n###",
    "v1": CURIOUS.format("user") + " USER: <image>\nWhat? ASSISTANT: A ball.</s> USER: Sure? ASSISTANT: Yes.</s>",
    "bare": "USER: <image>\nWhat? ASSISTANT: A ball.</s>USER: Sure? ASSISTANT: Yes.</s>",
    "mpt": "<|im_start|>system\nA conversation between a user and an LLM-based AI assistant. The assistant gives "
    "helpful and honest answers.<|im_end|><|im_start|>user\n<image>\nWhat?<|im_end|><|im_start|>assistant\nA ball."
    "<|im_end|><|im_start|>user\nSure?<|im_end|><|im_start|>assistant\nYes.<|im_end|>",
    "llama_2": "[INST] <<SYS>>\nYou are a helpful language and vision assistant. You are able to understand the visual "
    "content that the user provides, and assist the user with a variety of tasks using natural language.\n<</SYS>>\n\n"
    "<image>\nWhat? [/INST] A ball. </s><s>[INST] Sure? [/INST] Yes. </s>",
    "chatml": "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA ball.<|im_end|>\n"
    "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_text_of_a_conversation(name: str) -> None:
    assert "".join(piece.text for piece in template_named(name).pieces(TURNS, "</s>")) == RENDERED[name]


@pytest.mark.parametrize("name", TEMPLATES)
def test_supervised_are_the_answers_and_their_end_marks_alone(name: str) -> None:
    template = template_named(name)
    supervised = "".join(piece.text for piece in template.pieces(TURNS, "</s>") if piece.supervised)
    end = template.end_mark("</s>")
    assert supervised == f"{template.before_words}A ball.{end}{template.before_words}Yes.{end}"


@pytest.mark.parametrize("name", TEMPLATES)
def test_an_open_question_is_a_prefix_of_the_answered_one(name: str) -> None:
    template = template_named(name)
    opened = [piece.text for piece in template.pieces(TURNS[:3], "</s>")]
    assert [piece.text for piece in template.pieces(TURNS, "</s>")][: len(opened)] == opened


def test_an_unknown_template_names_those_there_are() -> None:
    with pytest.raises(ModelError, match="no template 'v2'; there are: plain, v0, v1, bare, chatml, mpt, llama_2"):
        template_named("v2")
