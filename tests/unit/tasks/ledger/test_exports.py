"""What one ledger paid for, another finds answered: through files in a storage, each taken in once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import fsspec
import pytest

from tasks.errors import DataError
from tasks.ledger.exports import Exports
from tasks.ledger.ledger import Ledger
from tests.fakes.chat_client import FakeClient, ask_for, texts

URI = "memory://bucket/ledger"


@pytest.fixture(autouse=True)
def bucket() -> Iterator[None]:
    yield
    memory = fsspec.filesystem("memory")
    if memory.exists("/bucket"):
        memory.rm("/bucket", recursive=True)


def url(folder: Path, name: str) -> str:
    return f"sqlite:///{folder}/{name}.db"


def ask(at: str, *words: str, now: float = 1000.0) -> tuple[dict[int, str | None], list[str]]:
    """What came back, and what was sent."""
    client = FakeClient(True)
    with closing(Ledger(at, clock=lambda: now)) as ledger:
        return texts(ledger.ask(client, ask_for(*words), "teacher")), client.sent


def test_another_ledger_never_sends_what_was_exported(tmp_path: Path) -> None:
    ask(url(tmp_path, "a"), "one", "two")
    assert Exports(url(tmp_path, "a"), URI).write("run-1", since=0.0) == 2
    assert Exports(url(tmp_path, "b"), URI).take_in() == 2
    assert ask(url(tmp_path, "b"), "one", "two", "three") == ({0: "ONE", 1: "TWO", 2: "THREE"}, ["three"])


def test_an_export_holds_what_was_answered_since_its_run_began_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    ask(url(tmp_path, "a"), "old", now=10.0)
    ask(url(tmp_path, "a"), "new", now=20.0)
    exports, memory = Exports(url(tmp_path, "a"), URI), fsspec.filesystem("memory")
    assert exports.write("run", since=15.0) == 1
    first = memory.cat_file("/bucket/ledger/run.jsonl.gz")
    exports.write("run", since=15.0)
    assert memory.cat_file("/bucket/ledger/run.jsonl.gz") == first
    Exports(url(tmp_path, "b"), URI).take_in()
    assert ask(url(tmp_path, "b"), "old", "new")[1] == ["old"]


def test_an_export_is_taken_in_once_and_its_writer_never_takes_it(tmp_path: Path) -> None:
    ask(url(tmp_path, "a"), "one")
    Exports(url(tmp_path, "a"), URI).write("run-1", since=0.0)
    assert Exports(url(tmp_path, "a"), URI).take_in() == 0
    assert [Exports(url(tmp_path, "b"), URI).take_in() for _ in range(2)] == [1, 0]


def test_an_answer_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    for name, now in (("a", 10.0), ("b", 20.0)):
        ask(url(tmp_path, name), "one", now=now)
    Exports(url(tmp_path, "a"), URI).write("run-1", since=0.0)
    Exports(url(tmp_path, "b"), URI).take_in()
    assert Exports(url(tmp_path, "b"), URI).write("run-2", since=15.0) == 1


def test_nothing_answered_is_no_file(tmp_path: Path) -> None:
    assert Exports(url(tmp_path, "a"), URI).write("run", since=0.0) == 0
    assert Exports(url(tmp_path, "a"), URI).take_in() == 0


def test_an_export_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/ledger/run.jsonl.gz", b"no gzip")
    with pytest.raises(DataError, match=r"run\.jsonl\.gz cannot be read.*restore it or remove it"):
        Exports(url(tmp_path, "a"), URI).take_in()
