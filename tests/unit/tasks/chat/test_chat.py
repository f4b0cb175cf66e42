"""The client of an OpenAI-compatible endpoint, against a real server with real faults."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.schema import OpenAIEndpoint, ScriptedEndpoint
from tasks.chat.client import Failure, Message, Reply, ScriptedClient, Usage, answer_all, answers, make_client
from tasks.chat.errors import retry_after
from tasks.chat.openai import OpenAIClient
from tasks.errors import EndpointError, EndpointRejected
from tests.fakes.openai_server import FakeServer, Fault, body, drop, half, slow, status

HELLO = (Message("system", "You are kind."), Message("user", "hello"))


def asked(number: int) -> list[tuple[Message, ...]]:
    return [(Message("user", f"question {index}"),) for index in range(number)]


class Pauses:
    """A sleep that only notes how long it was to be, and the clock that it moves on."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def clock(self) -> float:
        return sum(self.seconds) + time.monotonic()

    def __call__(self, seconds: float) -> Awaitable[None]:
        self.seconds.append(seconds)

        async def nothing() -> None:
            pass

        return nothing()


@contextmanager
def talking_to(
    server: FakeServer, pauses: Pauses | None = None, key: str | None = None, **knobs: Any
) -> Iterator[OpenAIClient]:
    pauses = pauses or Pauses()
    endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, **{"model": "fake", **knobs})
    with server, closing(OpenAIClient(endpoint, key, pauses, pauses.clock)) as client:
        yield client


def test_a_reply_carries_text_tokens_and_reason_and_the_request_all_parameters() -> None:
    with talking_to(FakeServer(lambda messages: "good day"), temperature=0.7, max_tokens=9, key="secret") as client:
        reply = client.complete(HELLO)
    assert reply == Reply("good day", 4, 2, "stop")


def test_what_is_sent_is_what_was_configured() -> None:
    server = FakeServer()
    with talking_to(server, temperature=0.7, max_tokens=9, key="secret") as client:
        client.complete(HELLO)
    request = server.seen.requests[0]
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("fake", 0.7, 9)
    assert request["messages"] == [message.json() for message in HELLO]
    assert server.seen.keys == ["Bearer secret"]


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(status(429), id="429"),
        pytest.param(status(500), id="500"),
        pytest.param(status(503), id="503"),
        pytest.param(status(408), id="408"),
        pytest.param(drop(), id="dropped"),
        pytest.param(half(), id="half a body"),
        pytest.param(body("{not json"), id="not json"),
        pytest.param(body("[]"), id="a list"),
        pytest.param(body('{"choices": []}'), id="no choice"),
    ],
)
def test_what_a_retry_can_cure_is_retried(fault: Fault) -> None:
    server, pauses = FakeServer(faults=[fault, fault]), Pauses()
    with talking_to(server, pauses) as client:
        assert client.complete(HELLO).text == "ok"
    assert server.asked == 3
    assert len(pauses.seconds) == 2


def test_pauses_grow_and_vary_and_stay_bounded() -> None:
    pauses = Pauses()
    with talking_to(FakeServer(faults=[status(500)] * 9), pauses, max_retries=9) as client:
        client.complete(HELLO)
    shares = [pause / 2**power for power, pause in enumerate(pauses.seconds[:6])]
    assert all(0.375 <= share <= 0.625 for share in shares)
    assert max(pauses.seconds) <= 25
    assert len(set(shares)) > 1


def test_a_retry_after_is_honoured() -> None:
    pauses = Pauses()
    with talking_to(FakeServer(faults=[status(429, retry_after="7"), status(503, retry_after="3")]), pauses) as client:
        client.complete(HELLO)
    assert [int(pause) for pause in pauses.seconds] == [7, 3]


def test_a_retry_after_beyond_patience_fails_the_request_and_says_how_long() -> None:
    pauses = Pauses()
    with talking_to(FakeServer(faults=[status(429, retry_after="3600")]), pauses) as client, pytest.raises(
        EndpointError, match="3600"
    ):
        client.complete(HELLO)
    assert pauses.seconds == []


def test_retry_after_may_be_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, now) == 30
    assert retry_after({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after-ms": "1500"}, now) == 1.5
    assert retry_after({"retry-after": "soon"}, now) is None
    assert retry_after({}, now) is None


def test_retries_are_bounded_and_the_last_cause_is_told() -> None:
    server = FakeServer(faults=[status(500, message="out of cheese")] * 9)
    with talking_to(server, max_retries=2) as client, pytest.raises(EndpointError, match=r"3 tries.*out of cheese"):
        client.complete(HELLO)
    assert server.asked == 3


def test_a_timeout_is_retried() -> None:
    server = FakeServer(faults=[slow(1.0)])
    with talking_to(server, timeout_seconds=0.3) as client:
        assert client.complete(HELLO).text == "ok"
    assert server.asked == 2


def test_a_wrong_key_is_refused_at_once_without_naming_it() -> None:
    server = FakeServer(key="right")
    with talking_to(server, key="wrong-key", api_key_env="MY_KEY") as client, pytest.raises(EndpointRejected) as caught:
        client.complete(HELLO)
    assert server.asked == 1
    assert "MY_KEY" in str(caught.value)
    assert "wrong-key" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_model_is_refused_at_once() -> None:
    server = FakeServer()
    with talking_to(server, model="gtp-4") as client, pytest.raises(EndpointRejected, match="gtp-4"):
        client.complete(HELLO)
    assert server.asked == 1


def test_an_empty_account_is_refused_at_once_though_it_comes_as_429() -> None:
    server = FakeServer(faults=[status(429, error_code="insufficient_quota")])
    with talking_to(server) as client, pytest.raises(EndpointRejected, match="insufficient_quota"):
        client.complete(HELLO)
    assert server.asked == 1


def test_an_endpoint_that_is_down_at_the_start_is_named_with_the_remedy() -> None:
    pauses = Pauses()
    with FakeServer() as server:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", max_retries=50)
    with closing(OpenAIClient(endpoint, None, sleep=pauses)) as client, pytest.raises(EndpointError) as caught:
        client.complete(HELLO)
    assert server.base_url in str(caught.value)
    assert "start the endpoint" in str(caught.value)
    assert sum(pauses.seconds) < 6


def test_a_batch_to_an_endpoint_that_is_down_raises_instead_of_failing_each_request() -> None:
    with FakeServer() as server:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake")
    client = OpenAIClient(endpoint, None, sleep=Pauses())
    with closing(client), pytest.raises(EndpointError, match="nothing answers"):
        answer_all(client, asked(20))


def test_all_are_answered_in_the_order_of_the_requests_however_they_arrive() -> None:
    server = FakeServer(lambda messages: messages[-1]["content"], faults=[slow(0.2), status(500)])
    with talking_to(server, concurrency=4) as client:
        outcomes = answer_all(client, asked(12))
    assert [outcome.text for outcome in outcomes if isinstance(outcome, Reply)] == [f"question {n}" for n in range(12)]


def test_as_many_requests_are_under_way_as_configured_over_as_many_connections() -> None:
    server = FakeServer(latency=0.05)
    with talking_to(server, concurrency=3) as client:
        answer_all(client, asked(15))
    assert server.seen.most_at_once == 3
    assert len(server.seen.connections) <= 3


def test_requests_are_drawn_only_as_places_become_free() -> None:
    drawn: list[int] = []

    def source() -> Iterator[tuple[Message, ...]]:
        for index, messages in enumerate(asked(10)):
            drawn.append(index)
            yield messages

    with talking_to(FakeServer(), concurrency=2) as client:
        outcomes = answers(client, source())
        next(outcomes)
        assert len(drawn) <= 4
        assert len(list(outcomes)) == 9


def test_one_request_that_the_endpoint_refuses_is_a_failure_and_the_others_are_answered() -> None:
    server = FakeServer(faults=[status(400, message="too long for me")])
    with talking_to(server, concurrency=1) as client:
        outcomes = answer_all(client, asked(3))
    assert isinstance(outcomes[0], Failure) and "too long for me" in outcomes[0].reason
    assert [type(outcome) for outcome in outcomes[1:]] == [Reply, Reply]
    assert server.asked == 3


def test_an_endpoint_that_stops_answering_ends_the_batch_and_what_was_answered_is_yielded() -> None:
    server = FakeServer(faults=[Fault("none")] * 5 + [status(500)] * 1000)
    got: list[Reply | Failure] = []
    with talking_to(server, max_retries=0, concurrency=2) as client, pytest.raises(EndpointError, match="in a row"):
        for _, outcome in answers(client, asked(500)):
            got.append(outcome)
    assert sum(isinstance(outcome, Reply) for outcome in got) == 5
    assert server.asked <= 5 + client.endpoint.circuit_after + 2


def test_a_rejection_in_a_batch_raises_after_what_was_under_way_is_yielded() -> None:
    server = FakeServer(faults=[Fault("none"), status(401), slow(0.2)])
    got: list[Reply | Failure] = []
    with talking_to(server, concurrency=3) as client, pytest.raises(EndpointRejected):
        for _, outcome in answers(client, asked(50)):
            got.append(outcome)
    assert server.asked < 10
    assert sum(isinstance(outcome, Reply) for outcome in got) == server.asked - 1


def test_usage_sums_tokens_and_money() -> None:
    server = FakeServer(lambda messages: "one two three")
    with talking_to(server, usd_per_million_input=1.0, usd_per_million_output=10.0) as client:
        answer_all(client, asked(4))
        assert replace(client.usage, usd=0.0) == Usage(4, 8, 12)
        assert client.usage.usd == pytest.approx(4 * (2 + 30) / 1e6)


def test_a_server_that_names_no_usage_is_still_counted() -> None:
    with talking_to(FakeServer(lambda messages: "a fairly long answer", usage=False)) as client:
        reply = client.complete(HELLO)
    assert reply.input_tokens > 0 and reply.output_tokens > 0


def test_no_reply_costs_more_than_the_highest_price() -> None:
    with talking_to(FakeServer(), usd_per_million_input=3.0, usd_per_million_output=15.0, max_tokens=50) as client:
        reply = client.complete(HELLO)
        assert 0 < client.price(reply) <= client.highest_price(HELLO)


def test_a_model_that_wants_max_completion_tokens_gets_it() -> None:
    refusal = status(400, message="Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    server = FakeServer(faults=[refusal])
    with talking_to(server, max_tokens=7) as client:
        assert client.complete(HELLO).text == "ok"
        client.complete(HELLO)
    assert [request.get("max_completion_tokens") for request in server.seen.requests] == [None, 7, 7]
    assert [request.get("max_tokens") for request in server.seen.requests] == [7, None, None]


def test_the_key_is_no_part_of_the_identity_and_the_sampling_is() -> None:
    endpoint = OpenAIEndpoint(kind="openai", model="fake")
    warmer = endpoint.model_copy(update={"temperature": 1.0})
    assert OpenAIClient(endpoint, "a").identity == OpenAIClient(endpoint, "b").identity
    assert OpenAIClient(endpoint, "a").identity != OpenAIClient(warmer, "a").identity


def test_a_client_that_was_closed_can_be_closed_again_and_used_again() -> None:
    with talking_to(FakeServer()) as client:
        client.complete(HELLO)
        client.close()
        client.close()
        assert client.complete(HELLO).text == "ok"


def test_the_scripted_endpoint_needs_no_openai_and_no_network() -> None:
    code = (
        "import sys; from configs.schema import ScriptedEndpoint; from tasks.chat.client import make_client;"
        "client = make_client(ScriptedEndpoint(kind='scripted'), None, 'teacher');"
        "assert 'openai' not in sys.modules and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_role_chooses_who_answers() -> None:
    endpoint = ScriptedEndpoint(kind="scripted")
    teacher, judge = make_client(endpoint, None, "teacher"), make_client(endpoint, None, "judge")
    assert (teacher.model, judge.model) == ("scripted-teacher", "scripted-judge")
    assert teacher.identity != judge.identity


def test_scripted_replies_are_counted_and_free() -> None:
    client = ScriptedClient("teacher", lambda messages: "a red circle")
    assert answer_all(client, [HELLO, HELLO]) == [Reply("a red circle", 4, 3)] * 2
    assert client.usage == Usage(2, 8, 6, 0.0)
