"""`make stack` starts everything, says so, keeps its secrets to itself, survives crashes, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.stack.places import Places
from infra.stack.plan import HOST
from infra.stack.programs import NODES
from tests.fakes.stack import Stack, stack_in, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

NAMES = {"postgres", "s3", "ray-head", "mlflow", "prefect", "worker", *NODES}


@pytest.fixture(scope="module")
def own() -> Iterator[Stack]:
    """A stack that these tests may harm."""
    with tempfile.TemporaryDirectory(prefix="stack-") as folder, stack_in(Path(folder)) as running:
        yield running


def well(stack: Stack) -> bool:
    found = stack.conditions()
    return {one.name for one in found} == NAMES and all(one.healthy for one in found)


def test_everything_is_up_and_a_second_start_says_so(own: Stack) -> None:
    assert well(own)
    again = own.command("start")
    assert again.returncode == 0 and "it is up already" in again.stdout
    status = own.command("status")
    assert status.returncode == 0 and "ILL" not in status.stdout
    assert all(name in status.stdout for name in NAMES)


def test_secrets_are_in_files_of_the_owner_alone_and_in_no_command_line(own: Stack) -> None:
    for file in (own.places.plan, own.places.env, own.places.home / "supervisord.conf"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    secrets = own.plan.secrets()
    config = (own.places.home / "supervisord.conf").read_text()
    said = own.command("status").stdout + own.command("logs", "--lines", "500").stdout
    assert [secret for secret in secrets if secret in config + said] == []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        assert not any(secret in line for secret in secrets), process.name()


def test_services_listen_on_loopback_alone_but_for_ray(own: Stack) -> None:
    # Ray takes the machine's own address for 127.0.0.1, whatever it is told; its token is asked for there.
    names = {port: name for name, port in own.plan.ports.items()}
    listening = [one.laddr for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr]
    elsewhere = {(names[one.port], one.ip) for one in listening if one.port in names and one.ip != HOST}
    assert {name for name, _ in elsewhere} <= {"ray", "ray_client"}, elsewhere


def test_a_program_that_dies_is_started_again(own: Stack) -> None:
    before = {one.name: one.pid for one in own.conditions()}
    os.kill(before["prefect"], signal.SIGKILL)
    wait_for(lambda: well(own) and {one.name: one.pid for one in own.conditions()}["prefect"] != before["prefect"])


def test_after_a_crash_of_the_supervisor_it_starts_again_with_the_same_data(own: Stack) -> None:
    import psycopg

    with psycopg.connect(own.plan.database("ledger"), autocommit=True) as connection:
        connection.execute("create table kept (what text)")
        connection.execute("insert into kept values ('this')")
    os.kill(own.supervisor.pid(), signal.SIGKILL)
    wait_for(lambda: not own.supervisor.running())
    done = own.command("start")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "have been ended" in done.stdout and well(own)
    with psycopg.connect(own.plan.database("ledger")) as connection:
        assert connection.execute("select what from kept").fetchall() == [("this",)]


def test_nothing_is_left_behind_after_a_stop(own: Stack) -> None:
    started = psutil.Process(own.supervisor.pid()).children(recursive=True)
    assert len(started) > len(NAMES)
    done = own.command("stop")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [process for process in started if process.is_running()] == [] and own.left_over() == []
    assert not own.places.runtime.exists() and not own.places.env.exists()
    for port in own.plan.ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex((HOST, port)) != 0
    status = own.command("status")
    assert status.returncode == 3 and "not up" in status.stdout
    assert "it was not up" in own.command("stop").stdout


def test_a_program_that_cannot_start_is_named_with_its_words_and_the_rest_is_stopped(tmp_path: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    stack = Stack(Places(folder / "stack"), folder / "runs")
    try:
        stack.places.make()
        (stack.places.data / "postgres").mkdir()
        (stack.places.data / "postgres" / "PG_VERSION").write_text("9\n")
        done = stack.command("start")
        assert done.returncode == 1 and "postgres ended" in done.stderr, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert stack.left_over() == []
    finally:
        stack.command("stop", "--wipe")
        shutil.rmtree(folder, ignore_errors=True)
