"""Batches behind the ledger: found again, never sent twice, and nothing lost whatever the endpoint makes of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.schema import BatchConfig, OpenAIEndpoint
from tasks.batches.asking import BatchAsker, asker_of
from tasks.batches.desk import Desk
from tasks.chat.batch import BatchClient
from tasks.chat.client import Message, make_client
from tasks.errors import BatchesUnderWay, BudgetExhausted, EndpointError, EndpointRejected
from tasks.ledger.batches import BatchRows
from tasks.ledger.ledger import Answer, Budget, Ledger, LedgerAsker, Request
from tests.fakes.batch_api import Ending, FakeBatchApi, Fault


class Killed(BaseException):
    """As if the process ended here."""


class Watched:
    """Progress that notes what it hears; `on_update` may stop the run."""

    def __init__(self, on_update: Callable[[], None] = lambda: None) -> None:
        self.notes: list[str] = []
        self.updates: list[tuple[int, int, dict[str, float | str]]] = []
        self._on_update = on_update

    def update(self, done: int, total: int, **shown: float | str) -> None:
        self.updates.append((done, total, shown))
        self._on_update()

    def note(self, message: str) -> None:
        self.notes.append(message)


class Clock:
    """A clock that goes on when somebody sleeps."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Place:
    """A ledger, and askers at an endpoint with the Batch API."""

    def __init__(self, root: Path) -> None:
        self.path = root / "ledger.sqlite"
        self.url = f"sqlite:///{self.path}"
        self.clock = Clock()
        self.progress = Watched()

    @contextmanager
    def asking(
        self, server: FakeBatchApi, budget: Budget | None = None, who: str | None = None, sending: bool = True,
        provider: type[BatchClient] = BatchClient, key: str = "key", retries: int = 2, **knobs: Any,
    ) -> Iterator[BatchAsker]:
        config = BatchConfig(**{"poll_seconds": 1.0, **knobs})
        endpoint = OpenAIEndpoint(
            kind="openai", base_url=server.base_url, model="fake", max_retries=retries, batch=config,
            usd_per_million_input=1000.0, usd_per_million_output=1000.0, max_tokens=10,
        )
        with ExitStack() as stack:
            client = stack.enter_context(closing(make_client(endpoint, key, "teacher")))
            ledger = stack.enter_context(closing(Ledger(self.url)))
            rows = stack.enter_context(closing(BatchRows(self.url)))
            at = stack.enter_context(closing(provider(endpoint, key, sleep=self.clock.sleep)))
            desk = Desk(client, at, rows, "teacher", config, self.progress, self.clock, self.clock.sleep)
            yield BatchAsker(replace(desk, who=who or desk.who), ledger, budget, sending)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.path)) as database:
            return database.execute(sql).fetchall()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def ask_for(*texts: str) -> list[Request]:
    return [Request((Message("system", "s"), Message("user", text))) for text in texts]


def texts(answers: Iterable[tuple[int, Answer]]) -> dict[int, str | None]:
    return {position: answer.reply.text if answer.reply else None for position, answer in answers}


def capitals(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"].upper()


def serving(**knobs: Any) -> FakeBatchApi:
    return FakeBatchApi(**{"answer": capitals, **knobs})


GONE = "elsewhere-that-is-gone:1:1:0"
"""An owner on another host: only the lease tells."""


def test_requests_go_out_as_one_batch_and_the_answers_come_back_to_their_positions(place: Place) -> None:
    with serving(steps=4) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a", "b", "a", "c"))) == {0: "A", 1: "B", 2: "A", 3: "C"}
        assert server.sizes == [3]
        assert (asker.tally.asked, asker.tally.from_ledger, asker.tally.used.requests) == (3, 1, 3)
    assert set(server.answered_keys.values()) == {1}
    assert "chat" not in server.calls


def test_an_answered_key_is_never_sent_again_in_a_batch_or_by_itself(place: Place) -> None:
    with serving() as server:
        with place.asking(server) as first:
            list(first.ask(ask_for("a", "b")))
        with place.asking(server) as second:
            answers = dict(second.ask(ask_for("b", "c")))
        endpoint = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", max_tokens=10)
        with closing(make_client(endpoint, "key", "teacher")) as client, closing(Ledger(place.url)) as ledger:
            by_itself = dict(LedgerAsker(ledger, client, "teacher").ask(ask_for("a", "c")))
    assert [answers[position].from_ledger for position in (0, 1)] == [True, False]
    assert server.sizes == [2, 1]
    assert all(answer.from_ledger for answer in by_itself.values())
    assert "chat" not in server.calls


def test_a_batch_holds_no_more_than_the_configuration_says(place: Place) -> None:
    with serving() as server, place.asking(server, max_requests=4, max_open=2) as asker:
        assert len(texts(asker.ask(ask_for(*"abcdefghij")))) == 10
        line = len(json.dumps({"custom_id": "k" * 64})) + 200
        with place.asking(server, max_bytes=3 * line) as small:
            assert len(texts(small.ask(ask_for(*"klmnopqrst")))) == 10
    assert server.sizes[:3] == [4, 4, 2]
    assert len(server.sizes) > 4
    assert all(len(server.files[batch.shown["input_file_id"]]) <= 3 * line for batch in [*server.batches.values()][3:])


def test_a_request_that_no_batch_can_hold_fails_and_the_others_are_answered(place: Place) -> None:
    with serving() as server, place.asking(server, max_bytes=1000) as asker:
        answers = dict(asker.ask(ask_for("a", "b" * 2000, "c")))
    assert texts(answers.items()) == {0: "A", 1: None, 2: "C"}
    assert "max_bytes" in str(answers[1].failure)


def test_no_more_batches_are_under_way_than_configured(place: Place) -> None:
    most = []
    with serving(steps=3) as server, place.asking(server, max_requests=1, max_open=2) as asker:
        place.progress = Watched()
        for _ in asker.ask(ask_for(*"abcde")):
            states = [batch.shown["status"] for batch in server.batches.values()]
            most.append(len(states) - states.count("completed"))
    assert server.sizes == [1] * 5
    assert max(most) <= 2


def test_the_discount_is_in_the_ledger_the_tally_and_the_budget(place: Place) -> None:
    budget = Budget(100.0, "generate.budget_usd")
    with serving() as server, place.asking(server, budget, discount=0.25) as asker:
        answers = dict(asker.ask(ask_for("a")))
    full = (2 + 1) * 1000 / 1e6
    assert answers[0].usd == pytest.approx(0.25 * full)
    assert asker.tally.used.usd == budget.spent_usd == pytest.approx(0.25 * full)
    assert place.query("select usd from requests") == [(pytest.approx(0.25 * full),)]


def test_the_budget_is_reserved_before_a_batch_is_sent_and_cuts_it(place: Place) -> None:
    many = [str(number) for number in range(80)]
    with serving() as server, place.asking(server) as any_asker:
        one = any_asker._desk.client.highest_price(ask_for("a")[0].messages) * 0.5
        spent = 3 * 1000 / 1e6 * 0.5
        budget = Budget(3.5 * one, "generate.budget_usd")
        with place.asking(server, budget) as asker, pytest.raises(BudgetExhausted, match=r"generate\.budget_usd"):
            list(asker.ask(ask_for(*many)))
        assert server.sizes[0] == 3
        assert budget.spent_usd <= budget.limit_usd
        assert budget.spent_usd == pytest.approx(sum(server.sizes) * spent)
        with place.asking(server, Budget(100.0, "generate.budget_usd")) as asker:
            assert len(texts(asker.ask(ask_for(*many)))) == 80
    assert set(server.answered_keys.values()) == {1}


def test_a_budget_of_zero_sends_nothing(place: Place) -> None:
    with serving() as server, place.asking(server, Budget(0.0, "knob")) as asker, pytest.raises(BudgetExhausted):
        list(asker.ask(ask_for("a")))
    assert server.calls == []


# ---------------------------------------------------------------------------------------------------- found again


def test_a_run_that_is_stopped_while_it_waits_is_gone_on_with(place: Place) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with serving(steps=10) as server:
        place.progress = Watched(stop)
        with place.asking(server) as asker, pytest.raises(KeyboardInterrupt) as caught:
            list(asker.ask(ask_for("a", "b")))
        assert "batch_0 in_progress, 0 of 2 answered" in caught.value.__notes__[0]
        assert place.progress.notes[-1] == caught.value.__notes__[0]
        place.progress = Watched()
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a", "b", "c"))) == {0: "A", 1: "B", 2: "C"}
    assert sorted(server.sizes) == [1, 2]
    assert set(server.answered_keys.values()) == {1}


def test_another_machine_with_the_same_ledger_fetches_the_batch(place: Place) -> None:
    with serving(steps=3) as server:
        with place.asking(server, who=GONE, leave_after_seconds=0) as asker, pytest.raises(BatchesUnderWay):
            list(asker.ask(ask_for("a", "b")))
        place.clock.now += 3 * 24 * 3600
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("b", "a"))) == {0: "B", 1: "A"}
    assert server.sizes == [2]


def test_leaving_tells_where_it_stands_and_how_to_come_back(place: Place) -> None:
    with serving(steps=100) as server, place.asking(server, leave_after_seconds=5) as asker, pytest.raises(
        BatchesUnderWay, match=r"batch_0 finalizing, 0 of 2 answered.*same command"
    ):
        list(asker.ask(ask_for("a", "b")))
    assert server.calls.count("look") <= 7
    assert place.progress.updates[1] == (0, 2, {"batches": 1, "state": "in_progress"})


class DiesBeforeUpload(BatchClient):
    def upload(self, *_: Any) -> str:
        raise Killed


class DiesAfterUpload(BatchClient):
    def create(self, *_: Any) -> Any:
        raise Killed


class DiesAfterCreate(BatchClient):
    def create(self, name: str, keys: str, input_file: str, since: float) -> Any:
        super().create(name, keys, input_file, since)
        raise Killed


def leave_as_a_dead_worker_would(place: Place) -> None:
    """What the handlers of an exception wrote is undone: a process that is killed runs none of them."""
    with closing(sqlite3.connect(place.path)) as database, database:
        late = place.clock.now + 9e9
        database.execute(
            f"update batches set state = case when input_file_id is null then 'preparing' else 'creating' end, "
            f"who = '{GONE}', lease_until = {late}, ended = null where provider_id is null"
        )
        database.execute(
            f"update requests set state = 'in_flight', sends = 1, lease_until = {late}, failure = null "
            "where state = 'failed'"
        )


@pytest.mark.parametrize(
    "dying", [DiesBeforeUpload, DiesAfterUpload, DiesAfterCreate]
)
def test_wherever_a_worker_dies_while_sending_each_key_is_paid_for_once(
    place: Place, dying: type[BatchClient]
) -> None:
    with serving() as server:
        with place.asking(server, who=GONE, provider=dying) as asker, pytest.raises(Killed):
            list(asker.ask(ask_for("a", "b")))
        leave_as_a_dead_worker_would(place)
        with closing(sqlite3.connect(place.path)) as database, database:
            database.execute("update batches set lease_until = 0")
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a", "b"))) == {0: "A", 1: "B"}
    assert len(server.batches) == 1
    assert set(server.answered_keys.values()) == {1}
    assert place.query("select distinct state, sends from requests") == [("answered", 1)]


def test_a_batch_that_another_worker_is_sending_is_waited_for(place: Place) -> None:
    with serving() as server:
        with place.asking(server, who=GONE, provider=DiesAfterUpload) as asker, pytest.raises(Killed):
            list(asker.ask(ask_for("a")))
        leave_as_a_dead_worker_would(place)  # ... but its lease has not run out
        place.progress = Watched(lambda: stop_after(3))
        with place.asking(server) as asker, pytest.raises(KeyboardInterrupt):
            list(asker.ask(ask_for("a")))
    assert server.sizes == []


def stop_after(times: int, heard: list[int] = []) -> None:  # noqa: B006 - counts over calls
    heard.append(1)
    if len(heard) >= times:
        raise KeyboardInterrupt


def test_a_batch_just_asked_for_that_is_not_listed_yet_is_looked_for_again(place: Place) -> None:
    with serving() as server:
        with place.asking(server, who=GONE, provider=DiesAfterCreate) as asker, pytest.raises(Killed):
            list(asker.ask(ask_for("a")))
        hidden, late = dict(server.batches), place.clock.now + 9
        server.batches.clear()

        def appear() -> None:
            if place.clock.now >= late:
                server.batches.update(hidden)

        place.progress = Watched(appear)
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a"))) == {0: "A"}
    assert server.sizes == [1]
    assert any("not written down" in note for note in place.progress.notes)


@pytest.mark.parametrize("fault", [Fault(done=True), Fault(code=500, done=True), Fault(code=408, done=True)])
def test_a_creation_whose_answer_is_lost_is_looked_for_before_it_is_tried_again(place: Place, fault: Fault) -> None:
    with serving(faults={"create": [fault]}) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a", "b"))) == {0: "A", 1: "B"}
    assert server.sizes == [2]


def test_when_nobody_knows_whether_a_batch_was_started_the_next_run_looks_for_it(place: Place) -> None:
    faults = {"create": [Fault(done=True)], "list": [Fault(), Fault(), Fault()]}
    with serving(faults=faults) as server:
        with place.asking(server) as asker, pytest.raises(EndpointError, match="run the same command again"):
            list(asker.ask(ask_for("a", "b")))
        assert place.query("select state from batches") == [("creating",)]
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a", "b"))) == {0: "A", 1: "B"}
    assert server.sizes == [2]


def test_a_fetch_that_is_cut_short_is_done_again_without_harm(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.batches.fetching.LINES_A_COMMIT", 2)
    with serving() as server:
        with place.asking(server) as asker:
            answers = asker.ask(ask_for(*"abcdef"))
            got = [next(answers)[0] for _ in range(3)]
            answers.close()  # type: ignore[attr-defined]
        with place.asking(server) as asker:
            again = dict(asker.ask(ask_for(*"abcdef")))
    assert texts(again.items()) == dict(enumerate("ABCDEF"))
    assert [again[position].from_ledger for position in got] == [True] * 3
    assert set(server.answered_keys.values()) == {1}


def test_an_experiment_that_gave_up_its_batches_still_fetches_those_under_way(place: Place) -> None:
    with serving(steps=3) as server:
        with place.asking(server, leave_after_seconds=0) as asker, pytest.raises(BatchesUnderWay):
            list(asker.ask(ask_for("a", "b")))
        with place.asking(server, sending=False) as asker:
            assert texts(asker.ask(ask_for("a", "b", "c"))) == {0: "A", 1: "B", 2: "C"}
    assert server.calls.count("chat") == 1
    assert server.sizes == [2]


def test_without_batches_configured_or_under_way_requests_go_one_by_one(place: Place) -> None:
    with serving(steps=3) as server:
        plain = OpenAIEndpoint(kind="openai", base_url=server.base_url, model="fake", max_tokens=10)
        with ExitStack() as stack:
            client = stack.enter_context(closing(make_client(plain, "key", "teacher")))
            ledger = stack.enter_context(closing(Ledger(place.url)))

            def kind(endpoint: OpenAIEndpoint) -> type[LedgerAsker]:
                arguments = (stack, endpoint, "key", ledger, place.url, client, "teacher", None, Watched())
                return type(asker_of(*arguments))

            assert kind(plain) is LedgerAsker
            assert kind(plain.model_copy(update={"batch": BatchConfig()})) is BatchAsker
            with place.asking(server, leave_after_seconds=0) as asker, pytest.raises(BatchesUnderWay):
                list(asker.ask(ask_for("a")))
            assert kind(plain) is BatchAsker


def test_two_workers_on_one_ledger_share_a_batch(place: Place) -> None:
    with serving(steps=2) as server, place.asking(server, who=GONE) as one, place.asking(server) as other:
        first = one.ask(ask_for("a", "b", "c"))
        got = dict([next(first)])
        shared = texts(other.ask(ask_for("b", "c", "d")))
        got |= dict(first)
    assert shared == {0: "B", 1: "C", 2: "D"}
    assert texts(got.items()) == {0: "A", 1: "B", 2: "C"}
    assert set(server.answered_keys.values()) == {1}


# ---------------------------------------------------------------------------------------------------- bad ends


def test_what_an_expired_batch_has_not_answered_goes_into_the_next(place: Place) -> None:
    with serving(endings=[Ending("expired", answered=2)]) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for(*"abcde"))) == dict(enumerate("ABCDE"))
    assert server.sizes == [5, 3]
    assert set(server.answered_keys.values()) == {1}
    assert sorted(place.query("select sends, count(*) from requests group by sends")) == [(1, 2), (2, 3)]
    assert any("2 answered, 3 to be sent again" in note for note in place.progress.notes)


def test_a_batch_cancelled_by_somebody_keeps_what_was_answered(place: Place) -> None:
    with serving(endings=[Ending("cancelled", answered=1)]) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for(*"abc"))) == dict(enumerate("ABC"))
    assert server.sizes == [3, 2]


def test_batches_that_never_answer_a_request_end_as_its_failure(place: Place) -> None:
    with serving(endings=[Ending("expired", answered=1)] * 9) as server, place.asking(server, retries=1) as asker:
        answers = dict(asker.ask(ask_for("a", "b", "c", "d")))
    assert server.sizes == [4, 3]
    assert [answer.reply is None for _, answer in sorted(answers.items())].count(True) == 2
    assert all("batch_expired" in str(answer.failure) for answer in answers.values() if answer.reply is None)


REFUSED = (400, {"error": {"message": "this is too long", "code": "context_length_exceeded"}})
BUSY = (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
BROKEN = (500, {"error": {"message": "out of cheese"}})


def test_an_error_on_a_line_means_what_it_means_online(place: Place) -> None:
    trouble = {"b": REFUSED, "c": BUSY, "d": BROKEN}
    with serving(endings=[Ending(trouble=trouble)]) as server, place.asking(server) as asker:
        answers = dict(asker.ask(ask_for(*"abcd")))
    assert texts(answers.items()) == {0: "A", 1: None, 2: "C", 3: "D"}
    assert "too long" in str(answers[1].failure)
    assert server.sizes == [4, 2]
    assert asker.tally.failed == 1


def test_a_line_that_no_request_can_get_past_stops_it_after_all_else_is_kept(place: Place) -> None:
    unknown = (404, {"error": {"message": "The model `fake` does not exist", "code": "model_not_found"}})
    server = serving(endings=[Ending(trouble={"b": unknown})])
    with server, place.asking(server) as asker, pytest.raises(EndpointRejected, match="knows no model"):
        list(asker.ask(ask_for("a", "b", "c")))
    assert sorted(place.query("select state from requests")) == [("answered",), ("answered",), ("failed",)]


def test_a_model_that_wants_another_name_for_the_length_gets_it_in_the_next_batch(place: Place) -> None:
    told = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    server = serving(endings=[Ending(trouble={"a": (400, {"error": {"message": told}})})])
    with server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a"))) == {0: "A"}
    bodies = [batch.lines[0]["body"] for batch in server.batches.values()]
    assert [body.get("max_completion_tokens") for body in bodies] == [None, 10]


def swapped(lines: list[str]) -> list[str]:
    return [line.replace(json.loads(line)["custom_id"], "0" * 64) if number == 0 else line
            for number, line in enumerate(lines)]


def second_says_otherwise(lines: list[str]) -> list[str]:
    return [lines[0], lines[0].replace('"A"', '"another"'), *lines[1:]]


@pytest.mark.parametrize(
    ("mangle", "told"),
    [
        pytest.param(lambda lines: lines[1:], "1 without a line", id="a line missing"),
        pytest.param(swapped, "1 lines for unknown requests, 1 without a line", id="unknown custom_id"),
        pytest.param(lambda lines: ["{not json", *lines[1:]], "1 lines that cannot be read", id="invalid JSON"),
        pytest.param(lambda lines: ["[]", "", *lines[1:]], "1 lines that cannot be read", id="a list"),
        pytest.param(lambda lines: [lines[0][: len(lines[0]) // 2], *lines[1:]], "cannot be read", id="half a line"),
        pytest.param(
            lambda lines: [json.dumps({**json.loads(lines[0]), "response": {"status_code": 200, "body": "hm"}}),
                           *lines[1:]],
            "1 to be sent again", id="a body that is no completion",
        ),
    ],
)  # fmt: skip
def test_a_line_that_is_of_no_use_is_counted_and_its_request_sent_again(
    place: Place, mangle: Callable[[list[str]], list[str]], told: str
) -> None:
    with serving(endings=[Ending(mangle=mangle)]) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a", "b", "c"))) == {0: "A", 1: "B", 2: "C"}
    assert server.sizes == [3, 1]
    assert any(told in note for note in place.progress.notes)


def test_of_two_lines_for_a_request_the_first_counts(place: Place) -> None:
    with serving(endings=[Ending(mangle=second_says_otherwise)]) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a", "b"))) == {0: "A", 1: "B"}
    assert server.sizes == [2]
    assert any("1 second lines for a request" in note for note in place.progress.notes)


def test_a_batch_that_fails_validation_tells_why_and_nothing_is_lost(place: Place) -> None:
    errors = ({"code": "invalid_json_line", "message": "This line is not parseable.", "line": 2},)
    with serving(endings=[Ending(), Ending("failed", errors=errors)]) as server:
        with place.asking(server) as asker:
            list(asker.ask(ask_for("a")))
        with place.asking(server) as asker, pytest.raises(
            EndpointError, match=r"invalid_json_line \(line 2\): This line is not parseable"
        ):
            list(asker.ask(ask_for("a", "b", "c")))
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a", "b", "c"))) == {0: "A", 1: "B", 2: "C"}
    assert set(server.answered_keys.values()) == {1}


def test_an_endpoint_that_takes_no_more_batches_for_now_is_waited_for(place: Place) -> None:
    full = Ending("failed", errors=({"code": "token_limit_exceeded", "message": "Enqueued token limit", "line": None},))
    with serving(endings=[Ending(), full], steps=2) as server, place.asking(server, max_requests=2) as asker:
        assert texts(asker.ask(ask_for("a", "b", "c", "d"))) == {0: "A", 1: "B", 2: "C", 3: "D"}
    assert server.sizes == [2, 2, 2]


def test_an_endpoint_that_takes_no_batch_at_all_is_not_asked_for_ever(place: Place) -> None:
    full = Ending("failed", errors=({"code": "token_limit_exceeded", "message": "Enqueued token limit", "line": None},))
    server = serving(endings=[full] * 9)
    with server, place.asking(server, max_requests=2) as asker, pytest.raises(EndpointError, match="Enqueued"):
        list(asker.ask(ask_for("a", "b", "c", "d")))
    assert server.sizes == [2, 2]


def test_an_input_file_that_is_too_large_is_refused_with_the_remedy(place: Place) -> None:
    with serving(max_bytes=300) as server:
        with place.asking(server) as asker, pytest.raises(EndpointError, match=r"batch\.max_bytes"):
            list(asker.ask(ask_for("a", "b")))
        assert place.query("select state, sends from requests") == [("failed", 0)] * 2
        server.max_bytes = None
        with place.asking(server) as asker:
            assert len(texts(asker.ask(ask_for("a", "b")))) == 2


def test_a_wrong_key_stops_at_once_and_spends_nothing(place: Place) -> None:
    server = serving(key="right")
    with server, place.asking(server, key="wrong-key") as asker, pytest.raises(EndpointRejected) as caught:
        list(asker.ask(ask_for("a", "b")))
    assert "OPENAI_API_KEY" in str(caught.value)
    assert "wrong-key" not in str(caught.value)
    assert server.calls == ["upload"]
    assert place.query("select state from batches") == [("dropped",)]


def test_an_endpoint_without_the_batch_api_is_named(place: Place) -> None:
    server = serving(faults={"upload": [Fault(code=404)]})
    with server, place.asking(server) as asker, pytest.raises(EndpointRejected, match="no Batch API"):
        list(asker.ask(ask_for("a")))


@pytest.mark.parametrize("call", ["upload", "create", "look", "content"])
@pytest.mark.parametrize("fault", [Fault(), Fault(code=429), Fault(code=500), Fault(half=True)])
def test_a_call_that_a_retry_can_cure_is_retried(place: Place, call: str, fault: Fault) -> None:
    with serving(faults={call: [fault, fault]}) as server, place.asking(server) as asker:
        assert texts(asker.ask(ask_for("a", "b"))) == {0: "A", 1: "B"}
    assert server.sizes == [2]


def test_an_endpoint_that_is_gone_while_a_batch_is_under_way_loses_nothing(place: Place) -> None:
    with serving(steps=5) as server:
        server.faults["look"] = [Fault(code=500)] * 3
        with place.asking(server) as asker, pytest.raises(EndpointError, match="run the same command again"):
            list(asker.ask(ask_for("a")))
        with place.asking(server) as asker:
            assert texts(asker.ask(ask_for("a"))) == {0: "A"}
    assert server.sizes == [1]


def test_the_ledger_shows_batches_and_to_whom_their_requests_belong(place: Place) -> None:
    with serving(steps=9) as server, place.asking(server, leave_after_seconds=0) as asker:
        with pytest.raises(BatchesUnderWay):
            list(asker.ask(ask_for("a", "b")))
        columns = "purpose, model, state, requests, input_file_id, provider_id, discount, length(keys_digest), who"
        (row,) = place.query(f"select {columns} from batches")
        assert row == ("teacher", "fake", "sent", 2, "file-0", "batch_0", 0.5, 64, asker._desk.who)
        metadata = server.batches["batch_0"].shown["metadata"]
        assert place.query("select name, keys_digest from batches") == [
            (metadata["llavaflow_batch"], metadata["llavaflow_keys"])
        ]
        with closing(Ledger(place.url, clock=place.clock)) as ledger:
            assert [request.abandoned for request in ledger.open_requests()] == [False, False]

