"""The endpoint as the `openai` client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.fakes.serving import Endpoint, Versions, asking, data_uri, knobs, parts, picture, serving, until


@pytest.fixture(scope="module")
def versions() -> Versions:
    return Versions()


@pytest.fixture(scope="module")
def endpoint(versions: Versions) -> Iterator[Endpoint]:
    with serving(parts(versions)) as running:
        yield running


def ask(endpoint: Endpoint, words: str, *urls: str, **more: Any) -> Any:
    body: Any = asking(words, *urls, **more)
    return endpoint.client().chat.completions.create(**body)


def test_an_answer_with_its_usage_and_the_version_that_gave_it(endpoint: Endpoint) -> None:
    done = ask(endpoint, "which colour is it")
    assert done.choices[0].message.content == "one which colour is it"
    assert (done.choices[0].finish_reason, done.choices[0].message.role) == ("stop", "assistant")
    assert (done.usage.prompt_tokens, done.usage.completion_tokens, done.usage.total_tokens) == (10, 5, 15)
    assert done.model == "llavaflow/1"


def test_streamed_it_is_the_same_in_pieces(endpoint: Endpoint) -> None:
    chunks = list(ask(endpoint, "which colour is it", stream=True, stream_options={"include_usage": True}))
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert len(words) == 5 and "".join(words) == "one which colour is it"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 5


def test_usage_is_streamed_only_to_those_who_ask(endpoint: Endpoint) -> None:
    assert all(chunk.usage is None for chunk in ask(endpoint, "hello", stream=True))


def test_several_turns_and_several_images_reach_the_engine_in_order(endpoint: Endpoint, versions: Versions) -> None:
    messages: Any = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": data_uri(picture("red"))}},
            {"type": "text", "text": "first"},
            {"type": "image_url", "image_url": {"url": data_uri(picture("green"))}},
            {"type": "text", "text": "second"},
        ]},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": "third"},
    ]  # fmt: skip
    endpoint.client().chat.completions.create(model="llavaflow", messages=messages)
    said = versions.engines["1"].asked[-1].said
    assert [(one.role, one.words, len(one.pictures)) for one in said] == [
        ("system", "Be brief.", 0), ("user", "first\nsecond", 2), ("assistant", "answer", 0), ("user", "third", 0),
    ]  # fmt: skip
    assert len({shown.digest for shown in said[1].pictures}) == 2


def test_how_to_draw_tokens_reaches_the_engine(endpoint: Endpoint, versions: Versions) -> None:
    ask(endpoint, "hello", temperature=0.7, top_p=0.9, seed=5, max_tokens=17, stop=["x", "yy"])
    asked = versions.engines["1"].asked[-1]
    assert (asked.limit, asked.stop) == (17, ("x", "yy"))
    assert (asked.sampling.temperature, asked.sampling.top_p, asked.sampling.seed) == (0.7, 0.9, 5)
    ask(endpoint, "hello", max_completion_tokens=3)
    assert versions.engines["1"].asked[-1].limit == 3
    ask(endpoint, "hello")
    assert versions.engines["1"].asked[-1].sampling.temperature == 0.0, "greedy unless asked otherwise"


def test_what_can_be_asked_is_listed_with_its_version(endpoint: Endpoint) -> None:
    listed = endpoint.client().models.list().data
    assert [(one.id, one.to_dict()["root"]) for one in listed] == [("llavaflow", "llavaflow/1")]
    assert endpoint.client().models.retrieve("llavaflow").id == "llavaflow"
    with pytest.raises(openai.NotFoundError):
        endpoint.client().models.retrieve("gpt-4")


def test_health_readiness_and_figures(endpoint: Endpoint) -> None:
    assert httpx.get(f"{endpoint.base}/healthz").text == "ok"
    ready = httpx.get(f"{endpoint.base}/readyz")
    assert ready.status_code == 200 and ready.json()["version"] == "1"
    before = endpoint.figure("llavaflow_requests_total", version="1")
    ask(endpoint, "hello")
    assert endpoint.figure("llavaflow_requests_total", version="1") == before + 1
    text = httpx.get(f"{endpoint.base}/metrics").text
    assert 'llavaflow_model{version="1"} 1.0' in text and "llavaflow_first_token_seconds_bucket" in text


def test_it_is_not_ready_before_a_model_answers() -> None:
    versions = Versions(alias=None)
    with serving(parts(versions), ready=False) as endpoint:
        assert httpx.get(f"{endpoint.base}/healthz").status_code == 200
        assert httpx.get(f"{endpoint.base}/readyz").status_code == 503
        with pytest.raises(openai.InternalServerError) as refused:
            ask(endpoint, "hello")
        assert refused.value.status_code == 503 and refused.value.code == "engine_failed"
        versions.alias = "1"
        until(lambda: endpoint.gateway.champion.ready)
        assert ask(endpoint, "hello").choices[0].message.content == "one hello"


def test_who_has_no_key_is_refused_and_no_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with serving(parts(Versions(), keys="first-key, second-key")) as endpoint:
        for key in ("none", "first-ke", "first-key, second-key", "x"):
            told = endpoint.post(asking("hello"), Authorization=f"Bearer {key}")
            assert told.status_code == 401 and told.json()["error"]["code"] == "invalid_api_key"
            assert "first-key" not in told.text
        assert httpx.get(f"{endpoint.base}/v1/models").status_code == 401
        body: Any = asking("hello")
        for key in ("first-key", "second-key"):
            assert endpoint.client(key).chat.completions.create(**body).model == "llavaflow/1"
        with pytest.raises(openai.AuthenticationError):
            endpoint.client("third-key").chat.completions.create(**body)
        assert httpx.get(f"{endpoint.base}/healthz").status_code == 200, "probes have no key"
    assert "-key" not in caplog.text


def test_no_more_are_let_in_than_the_batch_and_the_queue_hold() -> None:
    versions = Versions()
    engine = versions.engines["1"]
    engine.held = True
    with serving(parts(versions, knobs(limits={"concurrency": 2, "queue": 1}))) as endpoint:
        client = endpoint.client()
        streams: Any = []
        body: Any = asking("a b c", stream=True)
        for _ in range(2):
            streams.append(client.chat.completions.create(**body))
        import threading

        waiting: list[Any] = []
        whole: Any = asking("a b c")
        thread = threading.Thread(target=lambda: waiting.append(client.chat.completions.create(**whole)))
        thread.start()
        until(lambda: endpoint.figure("llavaflow_queue") == 1)
        refused = endpoint.post(asking("a b c"))
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "server_overloaded"
        assert int(refused.headers["retry-after"]) > 0
        engine.held = False
        assert all("".join(c.choices[0].delta.content or "" for c in one) == "one a b c" for one in streams)
        thread.join()
        assert waiting[0].choices[0].message.content == "one a b c" and engine.most == 2


@pytest.mark.parametrize("stream", [False, True])
def test_who_takes_too_long_is_told_so(stream: bool) -> None:
    versions = Versions()
    versions.engines["1"].held = True
    with serving(parts(versions, knobs(limits={"seconds": 0.2}))) as endpoint:
        if stream:
            with pytest.raises(openai.APIError) as ended:
                list(ask(endpoint, "a b", stream=True))
            assert ended.value.code == "timeout"
        else:
            with pytest.raises(openai.InternalServerError) as late:
                ask(endpoint, "a b")
            assert (late.value.status_code, late.value.code) == (504, "timeout")
        until(lambda: versions.engines["1"].under_way == 0)
        assert endpoint.gateway.answering.admission.there == 0


def test_an_engine_that_breaks_in_the_middle_is_an_error_in_the_stream() -> None:
    versions = Versions()
    engine = versions.engines["1"]
    engine.breaks = True
    with serving(parts(versions)) as endpoint:
        with pytest.raises(openai.InternalServerError) as broken:
            ask(endpoint, "hello", stream=True)
        assert broken.value.code == "engine_failed" and "it broke" not in str(broken.value)
        assert endpoint.figure("llavaflow_errors_total", kind="engine_failed") == 1
