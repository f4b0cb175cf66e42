"""The ledger: an answered key is never sent again, whatever happens in between."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from configs.schema import OpenAIEndpoint
from tasks.chat.client import Message, Reply, Usage, make_client
from tasks.chat.openai import OpenAIClient
from tasks.errors import BudgetExhausted, EndpointError, EnvironmentProblem
from tasks.ledger.asking import AHEAD
from tasks.ledger.ledger import Budget, Ledger, LedgerAsker, Request, key_of
from tests.fakes.chat_client import FakeClient, ask_for, texts
from tests.fakes.openai_server import FakeServer, status

KEY = "eae6792b7c8cba3873d7d89457090ecd7bef91cf288b8497b4e8b8723f4618b9"
"""A key as ledgers have it: with another, nothing that was paid for would be found again."""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/deep/ledger.sqlite"


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    with closing(Ledger(url, clock=lambda: 1000.0)) as opened:
        yield opened


@pytest.mark.parametrize("costly", [True, False])
def test_an_answered_key_is_never_sent_again(url: str, costly: bool) -> None:
    client = FakeClient(costly)
    with closing(Ledger(url)) as first:
        assert texts(first.ask(client, ask_for("a", "b"), "teacher")) == {0: "A", 1: "B"}
    with closing(Ledger(url)) as second:
        answers = dict(second.ask(client, ask_for("b", "c", "a"), "teacher"))
    assert texts(answers.items()) == {0: "B", 1: "C", 2: "A"}
    assert [answers[position].from_ledger for position in range(3)] == [True, False, True]
    assert client.sent == ["a", "b", "c"]


@pytest.mark.parametrize("costly", [True, False])
def test_equal_requests_of_one_call_are_sent_once(ledger: Ledger, costly: bool) -> None:
    client = FakeClient(costly)
    assert texts(ledger.ask(client, ask_for("a", "b", "a", "a"), "teacher")) == {0: "A", 1: "B", 2: "A", 3: "A"}
    assert client.sent == ["a", "b"]


def test_whatever_shapes_the_answer_makes_another_key() -> None:
    request, client = ask_for("a")[0], FakeClient()
    other_messages = Request((*request.messages[:-1], Message("user", "b")))
    other_role = Request((*request.messages[:-1], Message("assistant", "a")))
    keys = [
        key_of(client, request),
        key_of(client, Request(request.messages, attempt=1)),
        key_of(client, other_messages),
        key_of(client, other_role),
        key_of(FakeClient(model="n"), request),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(FakeClient(), ask_for("a")[0]) == keys[0]


@pytest.mark.parametrize("costly", [True, False])
def test_an_answer_is_committed_before_it_is_handed_out(url: str, ledger: Ledger, costly: bool) -> None:
    for position, answer in ledger.ask(FakeClient(costly), ask_for("a", "b", "c"), "teacher"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as other:
            kept = dict(other.execute("select reply, state from requests where state = 'answered'").fetchall())
        assert answer.reply is not None and answer.reply.text in kept, position


def test_a_row_tells_purpose_model_request_tokens_cost_and_times(url: str, ledger: Ledger) -> None:
    list(ledger.ask(FakeClient(cost=0.5), ask_for("a"), "judge"))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("select * from requests").fetchone())
        prefix = database.execute("select messages from prefixes").fetchone()[0]
    assert (row["purpose"], row["model"], row["state"], row["reply"]) == ("judge", "m", "answered", "A")
    assert (row["input_tokens"], row["output_tokens"], row["usd"], row["sends"]) == (3, 2, 0.5, 1)
    assert (row["created"], row["answered"], row["lease_until"]) == (1000.0, 1000.0, None)
    assert json.loads(row["request"])["rest"] == [{"role": "user", "content": "a"}]
    assert json.loads(prefix) == [{"role": "system", "content": "s"}]
    assert ledger.totals() == [("judge", "m", "answered", 1, 1, 0.5)]


def test_sqlite_is_in_wal_mode(url: str, ledger: Ledger) -> None:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        assert database.execute("pragma journal_mode").fetchone()[0] == "wal"


def test_a_failed_request_has_its_reason_and_is_sent_again_when_asked_again(ledger: Ledger) -> None:
    broken = FakeClient(fail=lambda text: "too long" if text == "b" else None)
    answers = dict(ledger.ask(broken, ask_for("a", "b"), "teacher"))
    assert (answers[1].reply, answers[1].failure) == (None, "too long")
    healed = FakeClient()
    assert texts(ledger.ask(healed, ask_for("a", "b"), "teacher")) == {0: "A", 1: "B"}
    assert healed.sent == ["b"]
    assert ledger.totals() == [("teacher", "m", "answered", 2, 3, 0.0)]


def test_a_live_lease_is_waited_for_and_its_answer_shared(url: str) -> None:
    slow_one, other = FakeClient(), FakeClient()
    with closing(Ledger(url)) as first, closing(Ledger(url, sleep=lambda seconds: finish.set())) as second:
        finish, sent = threading.Event(), threading.Event()
        complete = slow_one.complete

        def slowly(messages: Sequence[Message]) -> Reply:
            sent.set()
            assert finish.wait(20)
            return complete(messages)

        slow_one.complete = slowly  # type: ignore[method-assign]
        worker = threading.Thread(target=lambda: list(first.ask(slow_one, ask_for("a"), "teacher")))
        worker.start()
        assert sent.wait(20)
        answers = dict(second.ask(other, ask_for("b", "a"), "teacher"))
        worker.join()
    assert texts(answers.items()) == {0: "B", 1: "A"}
    assert answers[1].from_ledger
    assert (slow_one.sent, other.sent) == (["a"], ["b"])


def test_many_workers_on_one_ledger_send_each_key_once(url: str) -> None:
    client, wanted = FakeClient(), [f"t{number}" for number in range(30)]
    results: list[dict[int, str | None]] = []

    def work(order: int) -> None:
        with closing(Ledger(url)) as mine:
            mixed = ask_for(*(wanted[order * 7 :] + wanted[: order * 7]))
            results.append(texts(mine.ask(client, mixed, "teacher")))

    workers = [threading.Thread(target=work, args=(order,)) for order in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(client.sent) == sorted(wanted)
    assert [len(result) for result in results] == [30] * 4


def test_an_expired_lease_of_another_host_is_taken_over(url: str, ledger: Ledger) -> None:
    list(ledger.ask(FakeClient(fail=lambda text: "x"), ask_for("a"), "teacher"))
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database, database:
        database.execute("update requests set state='in_flight', owner='elsewhere:1:1:0', lease_until=1010")
    assert [request.abandoned for request in ledger.open_requests()] == [False]
    with closing(Ledger(url, clock=lambda: 1011.0)) as later:
        assert [request.abandoned for request in later.open_requests()] == [True]
        assert texts(later.ask(FakeClient(), ask_for("a"), "teacher")) == {0: "A"}


def test_after_kill_9_only_what_was_under_way_is_sent_again(url: str, ledger: Ledger) -> None:
    with FakeServer(lambda messages: messages[-1]["content"].upper(), latency=0.03) as server:
        code = f"""
from configs.schema import OpenAIEndpoint
from tasks.chat.client import make_client, Message
from tasks.ledger.ledger import Ledger, Request
endpoint = OpenAIEndpoint(kind="openai", base_url={server.base_url!r}, model="fake", concurrency=3)
client = make_client(endpoint, None, "teacher")
asked = [Request((Message("user", f"q{{n}}"),)) for n in range(70)]
for position, answer in Ledger({url!r}).ask(client, asked, "teacher"):
    pass
"""
        worker = subprocess.Popen([sys.executable, "-c", code])
        while server.asked < 20 and worker.poll() is None:
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        left = ledger.open_requests()
        assert 1 <= len(left) <= 3
        assert all(request.abandoned and request.sends == 1 for request in left)
        before, server.latency = server.asked, 0.0
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", concurrency=3)
        with closing(make_client(endpoint, None, "teacher")) as client:
            wanted = [Request((Message("user", f"q{number}"),)) for number in range(70)]
            answers = dict(ledger.ask(client, wanted, "teacher"))
    assert texts(answers.items()) == {number: f"Q{number}" for number in range(70)}
    asked_twice = sorted(text for text in set(server.questions()) if server.questions().count(text) > 1)
    assert len(asked_twice) <= len(left)
    assert server.asked - before == 70 - sum(answer.from_ledger for answer in answers.values())
    assert ledger.open_requests() == []


def test_leaving_early_releases_the_leases(url: str, ledger: Ledger) -> None:
    client = FakeClient()
    answers = ledger.ask(client, ask_for("a", "b", "c"), "teacher")
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert all(request.abandoned for request in ledger.open_requests())
    assert texts(ledger.ask(FakeClient(), ask_for("a", "b", "c"), "teacher")) == {0: "A", 1: "B", 2: "C"}


def test_the_budget_is_never_passed_and_what_was_paid_is_kept(ledger: Ledger) -> None:
    client, budget = FakeClient(cost=1.0, highest=1.5), Budget(3.2, "generate.budget_usd")
    got: list[int] = []
    with pytest.raises(BudgetExhausted, match=r"generate\.budget_usd") as caught:
        for position, _ in ledger.ask(client, ask_for(*"abcdef"), "teacher", budget):
            got.append(position)
    assert got == [0, 1]
    assert budget.spent_usd == 2.0
    assert "2 answers came" in str(caught.value)
    more = Budget(100.0, "generate.budget_usd")
    assert len(texts(ledger.ask(client, ask_for(*"abcdef"), "teacher", more))) == 6
    assert client.sent == list("abcdef")
    assert more.spent_usd == 6.0


def test_what_earlier_runs_paid_for_counts_against_the_budget_but_is_handed_out(ledger: Ledger) -> None:
    client = FakeClient(cost=1.0)
    list(ledger.ask(client, ask_for(*"abc"), "teacher"))
    assert len(texts(ledger.ask(client, ask_for(*"abc"), "teacher", Budget(1.0, "knob")))) == 3
    with pytest.raises(BudgetExhausted):
        list(ledger.ask(client, ask_for(*"abcd"), "teacher", Budget(3.5, "knob")))
    assert client.sent == list("abc")


def test_a_budget_smaller_than_what_many_at_once_might_cost_is_still_used(url: str) -> None:
    server = FakeServer(lambda messages: "x")
    endpoint = OpenAIEndpoint(
        kind="openai", base_url=server.base_url, model="fake", max_tokens=1000, usd_per_million_output=1.0
    )
    with server, closing(Ledger(url)) as ledger, closing(OpenAIClient(endpoint, None)) as client:
        answers = dict(ledger.ask(client, ask_for(*"abcdefgh"), "teacher", Budget(0.0015, "knob")))
    assert len(answers) == 8


def test_an_endpoint_error_keeps_what_was_answered(url: str) -> None:
    server = FakeServer(lambda messages: "x", faults=[])
    with server, closing(Ledger(url)) as ledger:
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", concurrency=1, max_retries=0)
        with closing(OpenAIClient(endpoint, None)) as client:
            list(ledger.ask(client, ask_for("a", "b"), "teacher"))
            server.faults = [status(401)]
            with pytest.raises(EndpointError):
                list(ledger.ask(client, ask_for("c", "d"), "teacher"))
            answers = dict(ledger.ask(client, ask_for("a", "b", "c", "d"), "teacher"))
    assert [answers[position].from_ledger for position in range(4)] == [True, True, False, False]


def test_the_asker_tallies_what_was_asked_and_what_was_saved(ledger: Ledger) -> None:
    client = FakeClient(cost=0.25)
    list(ledger.ask(client, ask_for("a"), "teacher"))
    asker = LedgerAsker(ledger, client, "teacher")
    list(asker.ask(ask_for("a", "b", "c")))
    assert (asker.tally.asked, asker.tally.from_ledger, asker.tally.failed) == (2, 1, 0)
    assert asker.tally.used == Usage(2, 6, 4, 0.5)
    assert asker.tally.saved == Usage(1, 3, 2, 0.25)
    assert asker.model == "m"


def test_thousands_of_free_answers_take_few_transactions(url: str) -> None:
    many = ask_for(*(f"t{number}" for number in range(3000)))
    with closing(Ledger(url)) as ledger:
        assert len(texts(ledger.ask(FakeClient(costly=False), many, "teacher"))) == 3000
        again = FakeClient(costly=False)
        assert len(texts(ledger.ask(again, many, "teacher"))) == 3000
    assert again.sent == []


def test_a_file_that_is_no_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all, and longer than a header" * 50)
    with pytest.raises(EnvironmentProblem, match="LLAVAFLOW_LEDGER_URL"):
        Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_a_url_that_cannot_be_used_is_named_without_its_password() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        Ledger("nosuchdb://user:hunter2@host/ledger")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("costly", [True, False])
def test_requests_are_drawn_as_answers_come_and_not_all_at_once(ledger: Ledger, costly: bool) -> None:
    drawn = 0

    def source() -> Iterator[Request]:
        nonlocal drawn
        for number in range(20_000):
            drawn += 1
            yield from ask_for(f"t{number}")

    answers = ledger.ask(FakeClient(costly), source(), "teacher")
    for taken, _ in enumerate(answers):
        assert drawn <= taken + 2 * AHEAD
        if taken == 3 * AHEAD:
            break


def test_equal_beginnings_are_kept_once_and_a_request_that_goes_on_from_another_keeps_only_the_rest(
    url: str, ledger: Ledger
) -> None:
    head = (Message("system", "s"), Message("user", "shot"), Message("assistant", "reply"))
    first = (*head, Message("user", "captions"))
    again = (*first, Message("assistant", "bad"), Message("user", "write it again"))
    assert len(dict(ledger.ask(FakeClient(), [Request(first), Request(again, 1)], "teacher"))) == 2
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
        assert database.execute("select count(*) from prefixes").fetchone() == (1,)
        kept = sorted(json.loads(row[0])["rest"] for row in database.execute("select request from requests"))
    assert [len(rest) for rest in kept] in ([1, 3], [3, 1])


def test_a_key_is_the_same_in_every_process_and_told_apart_by_where_messages_end() -> None:
    one = Request((Message("user", "a\nassistant b"),))
    two = Request((Message("user", "a"), Message("assistant", "b")))
    assert key_of(FakeClient(), one) != key_of(FakeClient(), two)
    assert key_of(FakeClient(), Request((Message("user", "a"),))) == KEY


def test_leases_of_what_is_under_way_are_moved_on_before_they_end(url: str) -> None:
    now = [1000.0]
    client = FakeClient()

    def slowly(messages: Sequence[Message]) -> Reply:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            until.append(database.execute("select lease_until from requests where state = 'in_flight'").fetchone()[0])
        now[0] += 60.0
        return Reply("x", 1, 1)

    until: list[float] = []
    client.complete = slowly  # type: ignore[method-assign]
    with closing(Ledger(url, clock=lambda: now[0])) as ledger:
        list(ledger.ask(client, ask_for("a", "b", "c"), "teacher"))
    assert all(later > earlier for earlier, later in pairwise(until))


class SaysWho(FakeClient):
    """Tells, as endpoints do, what the model's name was resolved to."""

    def complete(self, messages: Sequence[Message]) -> Reply:
        return replace(super().complete(messages), served="m-0613 fp_1")


def test_an_answer_keeps_its_date_and_who_gave_it(url: str) -> None:
    client = SaysWho()
    with closing(Ledger(url, clock=lambda: 1000.0)) as first:
        ((_, fresh),) = first.ask(client, ask_for("a"), "judge")
    with closing(Ledger(url, clock=lambda: 2000.0)) as second:
        ((_, kept),) = second.ask(client, ask_for("a"), "judge")
    for answer in (fresh, kept):
        assert answer.reply is not None
        assert (answer.reply.answered, answer.reply.served) == (1000.0, "m-0613 fp_1")


def test_a_ledger_from_before_a_column_came_is_gone_on_with(url: str, tmp_path: Path) -> None:
    client = FakeClient()
    with closing(Ledger(url)) as first:
        texts(first.ask(client, ask_for("a"), "teacher"))
    with closing(sqlite3.connect(tmp_path / "deep" / "ledger.sqlite")) as database:
        database.execute("ALTER TABLE requests DROP COLUMN served")
    with closing(Ledger(url)) as second:
        assert texts(second.ask(client, ask_for("a", "b"), "teacher")) == {0: "A", 1: "B"}
    assert client.sent == ["a", "b"]
