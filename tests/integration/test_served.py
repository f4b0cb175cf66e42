"""A registered version behind `mlflow models serve`: real answers over HTTP, loopback only."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from configs.schema import RegistryConfig
from tasks.progress import Silent
from tasks.register.registry import MlflowRegistry
from tasks.register.run import Material, register_model
from tasks.register.version import Candidate
from tasks.tracking import MlflowTracker
from tests.fakes.evaluations import digest_of_name, evaluation
from tests.fakes.mlflow_store import fresh_store
from tests.fakes.tiny_llava import save_tiny_llava

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
PATIENCE = 240.0
TOKENS = 6


def registered(folder: Path) -> MlflowRegistry:
    """A store with one version, whose canary was answered when it was registered."""
    registry = MlflowRegistry(fresh_store(folder / "root"), "llavaflow", "champion")
    save_tiny_llava(folder / "checkpoint" / "model")
    run = MlflowTracker(registry.store, "shapes", "run-a", system_seconds=None)
    known = Candidate(
        experiment="shapes", run="run-a", run_id=run.run_id, checkpoint=digest_of_name("c"),
        evaluation=digest_of_name("e"),
    )
    judged = evaluation(folder / "evaluation", questions=4, pictures=True)
    material = Material(folder / "checkpoint", str(folder / "checkpoint"), judged, "Shapes.", {})
    register_model(registry, known, material, RegistryConfig(canary=2, canary_tokens=TOKENS), Silent())
    registry.set_champion("1")
    return registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> MlflowRegistry:
    return registered(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def address(registry: MlflowRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = Path(sys.executable).parent
    command = [
        str(programs / "mlflow"), "models", "serve", "-m", f"models:/{registry.name}@{registry.alias}",
        "--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "--workers", "1",
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": registry.store.uri, "PATH": f"{programs}:{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    folder = tmp_path_factory.mktemp("server")
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
        try:
            wait_for(process, f"http://127.0.0.1:{port}/ping", folder / "serve.log")
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise AssertionError(f"it did not come up: {log.read_text(errors='replace')[-3000:]}")


def asked(address: str, rows: list[list[str]], **params: float) -> list[str]:
    body = {"dataframe_split": {"columns": ["image", "prompt"], "data": rows}, "params": params}
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: list[str] = json.loads(answer.read())["predictions"]
    return found


def picture(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_it_answers_over_http_as_it_did_when_it_was_registered(registry: MlflowRegistry, address: str) -> None:
    probes = registry.canary("1").probes
    assert len(probes) == 2 and all(probe.image and probe.answer for probe in probes)
    rows = [[probe.image, probe.prompt] for probe in probes]
    assert asked(address, rows, max_new_tokens=TOKENS) == [probe.answer for probe in probes]


def test_the_parameters_of_generation_count(address: str) -> None:
    rows = [[picture("red"), "Which colour?"], ["", "And now?"]]
    short, long = asked(address, rows, max_new_tokens=1), asked(address, rows, max_new_tokens=20)
    assert len(short) == len(long) == 2
    assert sum(map(len, short)) < sum(map(len, long))


def test_what_is_no_image_is_a_refusal_that_says_so(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        asked(address, [["no base64!", "?"]])
    assert 400 <= caught.value.code < 600 and "base64" in caught.value.read().decode()
