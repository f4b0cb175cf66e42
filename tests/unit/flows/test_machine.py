"""The machine as it is: figures that can be checked another way, and servers that answer, refuse, or are not there."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from flows.machine import ThisMachine


@contextmanager
def server(status: int) -> Iterator[str]:
    """An HTTP server on loopback that answers everything with one status."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("status", [200, 401, 403, 404])
def test_any_answer_is_an_answer(status: int) -> None:
    with server(status) as address:
        assert ThisMachine().reaching_problem(f"http://{address}/health") is None
        assert ThisMachine().reaching_problem(f"http://me:secret@{address}/health") is None


def test_a_gateway_without_a_server_behind_it_is_a_problem() -> None:
    with server(503) as address:
        assert ThisMachine().reaching_problem(f"http://{address}/") == "it answers 503"


def test_a_server_on_this_machine_is_not_asked_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    with server(200) as address:
        assert ThisMachine().reaching_problem(f"http://{address}/") is None


@pytest.mark.parametrize("scheme", ["http", "ray", "postgresql+asyncpg", ""])
def test_a_server_that_is_not_there_is_a_problem(scheme: str, closed_port: int) -> None:
    url = f"{scheme}://127.0.0.1:{closed_port}" if scheme else f"127.0.0.1:{closed_port}"
    assert "refused" in (ThisMachine().reaching_problem(url) or "")


def test_a_server_without_http_is_reached_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert ThisMachine().reaching_problem(f"ray://127.0.0.1:{listener.getsockname()[1]}") is None


@pytest.mark.parametrize("url", ["nonsense", "ray://host:port", "http://", "s3x://"])
def test_a_url_that_names_no_server_is_a_problem_not_a_crash(url: str) -> None:
    assert ThisMachine().reaching_problem(url)


def test_a_folder_that_is_yet_to_be_made_is_judged_by_the_one_above_it(tmp_path: Path) -> None:
    assert ThisMachine().writing_problem(tmp_path / "a" / "b") is None
    assert ThisMachine().free_disk(tmp_path / "a" / "b") > 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_folder_s_place_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    assert ThisMachine().writing_problem(tmp_path / "runs" / "a") is not None


def test_programs_beside_this_python_are_found_without_being_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    assert ThisMachine().program("ninja") == str(Path(sys.executable).parent / "ninja")
    assert ThisMachine().program("no-such-program") is None


def test_a_compiled_operation_is_looked_for_where_torch_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert not ThisMachine().compiled("op")
    (tmp_path / "op").mkdir()
    (tmp_path / "op" / "op.so").touch()
    assert ThisMachine().compiled("op")


def test_installed_versions_are_those_of_the_distributions() -> None:
    assert ThisMachine().installed("pytest") == pytest.__version__
    assert ThisMachine().installed("no-such-package") is None
