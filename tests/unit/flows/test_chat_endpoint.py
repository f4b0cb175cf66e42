from __future__ import annotations

import socket
import sys
import urllib.request
from pathlib import Path

import pytest

from configs.settings import Settings
from flows.chat import examples_of
from flows.chat_endpoint import checked, endpoint_of, serve_command, started
from tasks.errors import ConfigError, EnvironmentProblem
from tests.fakes.vision_endpoint import VisionEndpoint


@pytest.mark.parametrize("given", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_a_named_endpoint_may_leave_out_its_end(given: str) -> None:
    assert checked(given) == "http://h:1/v1"


def test_what_is_no_url_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no URL"), endpoint_of("champion", "", Settings(root=tmp_path)):
        pass


def test_a_start_that_fails_tells_its_last_words_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('error: there is no champion yet')"]
    told = pytest.raises(EnvironmentProblem, match="error: there is no champion yet")
    with told, started(command, 1, tmp_path / "log"):
        pass


def test_what_was_started_ends_with_the_page(tmp_path: Path) -> None:
    with VisionEndpoint() as server:
        # The process stands for a server; what listens is the fake.
        mark = tmp_path / "alive"
        code = f"import pathlib, time; pathlib.Path({str(mark)!r}).touch(); time.sleep(600)"
        with started([sys.executable, "-c", code], server.port, tmp_path / "log") as base_url:
            assert base_url == server.base_url


def test_an_endpoint_whose_model_is_still_loading_is_waited_for(tmp_path: Path) -> None:
    # It lists its models at once, as `llavaflow serve` does.
    code = (
        "import http.server, sys, time\n"
        "began = time.monotonic()\n"
        "class Loading(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        there = self.path != '/readyz' or time.monotonic() > began + 1.5\n"
        "        self.send_response(200 if there else 503); self.end_headers(); self.wfile.write(b'{}')\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Loading).serve_forever()\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/readyz"
    command = [sys.executable, "-c", code, str(port)]
    with started(command, port, tmp_path / "log"), urllib.request.urlopen(url, timeout=5) as answer:
        assert answer.status == 200


def test_the_project_s_own_endpoint_listens_on_loopback() -> None:
    command = serve_command("models:/llavaflow@champion", 4711)
    assert command[2:] == ["flows.cli", "serve", "models:/llavaflow@champion", "--host", "127.0.0.1", "--port", "4711"]


def test_examples_are_a_folder_s_images_or_rendered_shapes(tmp_path: Path) -> None:
    rendered = examples_of(None, tmp_path / "rendered")
    assert len(rendered) == 3 and all(one.image.is_file() and one.question for one in rendered)
    assert [one.image for one in examples_of(tmp_path / "rendered", tmp_path)] == [one.image for one in rendered]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no image"):
        examples_of(tmp_path / "empty", tmp_path)
