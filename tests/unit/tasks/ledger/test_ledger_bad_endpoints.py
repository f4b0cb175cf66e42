"""What endpoints do wrong, seen from the ledger: what is sent, what is paid, what is said, what is left for later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from configs.schema import OpenAIEndpoint
from tasks.chat.openai import OpenAIClient
from tasks.chat.records import Message
from tasks.errors import BudgetExhausted, EndpointError, EndpointRejected
from tasks.ledger.ledger import Answer, Budget, Ledger, LedgerAsker, Request
from tests.fakes.openai_server import Chances, FakeServer, drip, drop, fine, half, status, wrong_usage

PRICES = {"usd_per_million_input": 1e6, "usd_per_million_output": 1e6}


def asked(number: int, first: int = 0) -> list[Request]:
    return [Request((Message("user", f"q{place}"),)) for place in range(first, first + number)]


def said(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"].upper()


async def at_once(seconds: float) -> None:
    """A pause that is none."""


@contextmanager
def asking(
    url: str, server: FakeServer, key: str | None = None, budget: Budget | None = None, quick: bool = True, **knobs: Any
) -> Iterator[LedgerAsker]:
    endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, **{"model": "fake", **PRICES, **knobs})
    client = OpenAIClient(endpoint, key, at_once) if quick else OpenAIClient(endpoint, key)
    with closing(Ledger(url)) as ledger, closing(client):
        yield LedgerAsker(ledger, client, "teacher", budget)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.sqlite"


def texts(answers: dict[int, Answer]) -> list[str | None]:
    return [None if (reply := answers[place].reply) is None else reply.text for place in sorted(answers)]


def test_a_wrong_key_stops_at_once_says_so_and_spends_nothing(url: str) -> None:
    with FakeServer(said, key="right") as server:
        with asking(url, server, "wrong", concurrency=4, api_key_env="MY_KEY") as asker:
            with pytest.raises(EndpointRejected, match="MY_KEY"):
                list(asker.ask(asked(1000)))
            assert asker.tally.used.usd == 0.0
        assert server.asked <= 4
        with asking(url, server, "right") as asker:
            assert len(dict(asker.ask(asked(5)))) == 5


def test_an_unknown_model_stops_at_once_and_is_named(url: str) -> None:
    with FakeServer(said) as server, asking(url, server, model="gtp-4", concurrency=4) as asker:
        with pytest.raises(EndpointRejected, match="gtp-4"):
            list(asker.ask(asked(1000)))
        assert server.asked <= 4 and asker.tally.used.usd == 0.0


def test_an_endpoint_that_is_down_at_the_start_is_named_with_the_remedy(url: str) -> None:
    with FakeServer() as server:
        pass
    with asking(url, server) as asker, pytest.raises(EndpointError, match="start the endpoint there"):
        list(asker.ask(asked(1000)))


def test_an_endpoint_that_goes_down_half_way_is_hardly_bothered_and_the_next_run_goes_on(url: str) -> None:
    server = FakeServer(said, faults=[fine()] * 50 + [drop()] * 10_000)
    got: list[int] = []
    with server, asking(url, server, concurrency=8, max_retries=2, circuit_after=5) as asker:
        with pytest.raises(EndpointError, match="5 requests in a row failed"):
            for place, answer in asker.ask(asked(1000)):
                got += [place] if answer.reply else []
        assert len(got) == 50
        assert server.asked <= 50 + 3 * (8 + 2)
        server.faults = []
        before = server.asked
        answers = dict(asker.ask(asked(100)))
        assert server.asked - before == 50
    assert texts(answers) == [f"Q{place}" for place in range(100)]


def test_an_outage_shorter_than_the_retries_costs_no_answer(url: str) -> None:
    server = FakeServer(said, faults=[fine()] * 20 + [status(503)] * 20)
    with server, asking(url, server, concurrency=8, circuit_after=4, max_retries=6) as asker:
        answers = dict(asker.ask(asked(60)))
    assert texts(answers) == [f"Q{place}" for place in range(60)]
    assert server.asked == 80


def test_a_budget_of_zero_sends_nothing_and_says_so(url: str) -> None:
    budget = Budget(0.0, "generate.budget_usd")
    with FakeServer(said) as server:
        with asking(url, server) as asker:
            list(asker.ask(asked(3)))
        with asking(url, server, budget=budget) as asker:
            with pytest.raises(BudgetExhausted, match=r"0 USD lets nothing be sent; raise generate\.budget_usd"):
                list(asker.ask(asked(9)))
            assert len(dict(asker.ask(asked(3)))) == 3
        free = {"usd_per_million_input": 0, "usd_per_million_output": 0}
        with asking(url, server, None, budget, True, **free) as asker, pytest.raises(BudgetExhausted):
            list(asker.ask(asked(9)))
    assert server.asked == 3


def test_the_budget_holds_with_many_under_way_and_a_larger_one_goes_on(url: str) -> None:
    with FakeServer(said, latency=0.01) as server:
        knobs = {"max_tokens": 10, "concurrency": 16, "usd_per_million_input": 0}
        limit = Budget(40.0, "generate.budget_usd")
        with asking(url, server, None, limit, True, **knobs) as asker, pytest.raises(BudgetExhausted):
            list(asker.ask(asked(200)))
        assert 30.0 < asker.tally.used.usd <= 40.0
        assert asker.tally.used.usd == pytest.approx(limit.spent_usd) == server.asked
        with asking(url, server, None, Budget(400.0, "generate.budget_usd"), True, **knobs) as asker:
            assert len(dict(asker.ask(asked(200)))) == 200
            assert asker.tally.saved.usd == pytest.approx(limit.spent_usd)
    assert server.asked == 200


def test_a_body_that_comes_byte_by_byte_for_ever_is_given_up(url: str) -> None:
    server = FakeServer(said, faults=[drip()])
    with server, asking(url, server, timeout_seconds=0.5, read_seconds=10) as asker:
        assert texts(dict(asker.ask(asked(1)))) == ["Q0"]
    assert server.asked == 2


def test_a_server_that_falls_silent_is_given_up_after_the_time_for_reading(url: str) -> None:
    server = FakeServer(said, faults=[drip(30.0)])
    with server, asking(url, server, timeout_seconds=20, read_seconds=0.3) as asker:
        assert texts(dict(asker.ask(asked(1)))) == ["Q0"]
    assert server.asked == 2


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -1000, "completion_tokens": -1000}, {"prompt_tokens": 10**18, "completion_tokens": 10**18},
        {"prompt_tokens": "12", "completion_tokens": "three"}, "free", None,
    ],
)
def test_wrong_usage_figures_are_neither_paid_nor_a_reason_to_pay_again(url: str, usage: object) -> None:
    server = FakeServer(said, faults=[wrong_usage(usage)])
    with server, asking(url, server) as asker:
        assert texts(dict(asker.ask(asked(1)))) == ["Q0"]
        assert asker.tally.estimated == 1
        assert 0 < asker.tally.used.usd < 100
        dict(asker.ask(asked(1)))
    assert server.asked == 1


@pytest.mark.parametrize("value", ["soon", "-5", "nan", "inf", "1e999", "", "Thu, 99 Jan 2026", "0x10", "\u0661"])
def test_a_retry_after_that_makes_no_sense_is_as_if_it_were_not_there(url: str, value: str) -> None:
    server = FakeServer(said, faults=[status(429, retry_after=value)])
    with server, asking(url, server) as asker:
        assert texts(dict(asker.ask(asked(1)))) == ["Q0"]
    assert server.asked == 2


def test_a_pause_longer_than_a_run_waits_for_ends_it_for_all_and_says_how_long(url: str) -> None:
    server = FakeServer(said, faults=[fine()] * 4 + [status(429, retry_after="3600")] * 100)
    with server, asking(url, server, concurrency=2) as asker, pytest.raises(EndpointError, match="3600 s"):
        list(asker.ask(asked(1000)))
    assert server.asked <= 4 + 2


def test_no_key_is_lost_and_none_answered_twice_among_faults_of_all_kinds(url: str) -> None:
    rates = {status(429): 0.05, drop(): 0.03, half(): 0.03, status(500): 0.03, status(429, retry_after="0"): 0.03}
    server = FakeServer(said, chances=Chances(rates, seed=3), threads=False)
    with server, asking(url, server, concurrency=16, max_retries=20) as asker:
        answers = list(asker.ask(asked(600)))
        with closing(Ledger(url)) as ledger:
            assert ledger.open_requests() == []
            assert [(row[2], row[3], row[4]) for row in ledger.totals()] == [("answered", 600, 600)]
    assert len(answers) == 600
    assert texts(dict(answers)) == [f"Q{place}" for place in range(600)]


def test_two_workers_on_an_unreliable_endpoint_pay_for_each_key_once(url: str) -> None:
    rates = {status(429): 0.05, drop(): 0.05}
    server = FakeServer(said, chances=Chances(rates, seed=4), threads=False)
    results: list[dict[int, Answer]] = []

    def work() -> None:
        with asking(url, server, concurrency=8, max_retries=20) as asker:
            results.append(dict(asker.ask(asked(300))))

    with server:
        workers = [threading.Thread(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        with closing(Ledger(url)) as ledger:
            assert [(row[2], row[3], row[4]) for row in ledger.totals()] == [("answered", 300, 300)]
    assert [texts(result) for result in results] == [[f"Q{place}" for place in range(300)]] * 2
    assert sum(not answer.from_ledger for result in results for answer in result.values()) == 300
