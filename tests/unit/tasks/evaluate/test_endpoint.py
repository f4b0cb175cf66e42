"""A vision endpoint answers beside checkpoints: images as data URIs, answers in the ledger, failures never scored."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from configs.schema import OpenAIEndpoint
from model.records import IMAGE_TOKEN
from model.sampling import Sampling
from tasks.chat.client import make_client
from tasks.errors import ConfigError, EndpointError
from tasks.evaluate.answers import Prompt, answer_all
from tasks.evaluate.endpoint import Asking, EndpointAnswerer
from tasks.ledger.ledger import Ledger, LedgerAsker
from tests.fakes.openai_server import FakeServer, Messages, status
from tests.unit.tasks.evaluate.sets import write_image


def asking(folder: Path) -> Asking:
    @contextmanager
    def opened(endpoint: OpenAIEndpoint) -> Iterator[LedgerAsker]:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        with closing(make_client(endpoint, None, "model")) as client, closing(ledger):
            yield LedgerAsker(ledger, client, "model")

    return opened


def answerer(server: FakeServer, folder: Path, retries: int = 0) -> EndpointAnswerer:
    endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", max_retries=retries, concurrency=1)
    return EndpointAnswerer(endpoint, asking(folder))


def told(messages: Messages) -> str:
    content: object = messages[-1]["content"]
    return f"words: {content}" if isinstance(content, str) else f"seen: {content[1]['text']}"  # type: ignore[index]


def test_the_image_goes_along_as_a_data_uri_in_front_of_the_words(tmp_path: Path) -> None:
    image = write_image(tmp_path / "1.png")
    prompts = [Prompt(f"{IMAGE_TOKEN}\nWhat is it?", image, 7), Prompt("Why?", None, 9, sampling=Sampling(0.5))]
    with FakeServer(answer=told) as server:
        answers = answer_all(answerer(server, tmp_path), prompts, 4, lambda done: None)
        first, second = server.seen.requests
    assert answers == ["seen: What is it?", "words: Why?"]
    shown = first["messages"][0]["content"][0]["image_url"]["url"]
    assert shown == "data:image/png;base64," + base64.b64encode(image.read_bytes()).decode()
    assert (first["max_tokens"], first["temperature"]) == (7, 0.0)
    assert (second["max_tokens"], second["temperature"]) == (9, 0.5)


def test_an_answer_is_paid_for_once_and_another_image_is_another_question(tmp_path: Path) -> None:
    image = write_image(tmp_path / "1.png")
    prompt = Prompt(f"{IMAGE_TOKEN}\nWhat is it?", image, 7)
    with FakeServer(answer=told) as server:
        for _ in range(2):
            answer_all(answerer(server, tmp_path), [prompt], 4, lambda done: None)
        assert server.asked == 1
        write_image(image, "blue")
        answer_all(answerer(server, tmp_path), [prompt], 4, lambda done: None)
        assert server.asked == 2
    assert base64.b64encode(image.read_bytes()) not in (tmp_path / "ledger.db").read_bytes()


def test_an_answer_that_did_not_come_is_an_error_after_the_others_are_kept(tmp_path: Path) -> None:
    prompts = [Prompt(f"question {number}", None, 7) for number in range(3)]
    with FakeServer(answer=told, faults=[status(500)]) as server:
        with pytest.raises(EndpointError, match="1 of 3 answers of fake did not come"):
            answer_all(answerer(server, tmp_path), prompts, 4, lambda done: None)
        assert answer_all(answerer(server, tmp_path), prompts, 4, lambda done: None)[0] == "words: question 0"
        assert server.asked == 4


def test_a_begun_answer_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    with FakeServer(answer=told) as server:
        with pytest.raises(ConfigError, match="answering=generate"):
            list(answerer(server, tmp_path).answer([Prompt("a", None, 7), Prompt("a", None, 7, begun="b")], 4))
        assert server.asked == 0
