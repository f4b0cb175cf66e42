"""The loop as a person goes it: run, chat about an image, correct an answer, export, retrain, meet the next champion.

Everything is the real thing (commands, endpoint, page, registry), only small: the models have learned next to nothing.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser

from tests.browser.conftest import Visitor
from tests.integration.test_spine import INHERITED, Place

pytestmark = [
    pytest.mark.browser, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1200),
    pytest.mark.filterwarnings("ignore"),
]
OPEN_GATE = ("gate.margin=100", "gate.category_margin=100")
"""Nothing can be learnt in so few steps: the next model is to pass, better or not."""
READY_SECONDS = 300.0


@pytest.fixture
def place(project: Path) -> Iterator[Place]:
    import shutil
    import tempfile

    # Not under pytest's own folder: Ray's sockets need a short path.
    folder = Path(tempfile.mkdtemp(prefix="story-"))
    (folder / "home").mkdir()
    yield Place(project, folder / "runs", folder / "home")
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def chatting(place: Place) -> Iterator[str]:
    """`llavaflow chat`, which starts its own endpoint; the page's address. Nothing of it is left afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    environment |= {"LLAVAFLOW_ROOT": str(place.root), "HOME": str(place.home), "NO_COLOR": "1"}
    command = [sys.executable, "-m", "flows.cli", "chat", "--port", str(port)]
    log = place.home.parent / "chat.log"
    address = f"http://127.0.0.1:{port}"
    with log.open("wb") as said, subprocess.Popen(
        command, cwd=place.project, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
    ) as page:
        try:
            until = time.monotonic() + READY_SECONDS
            while not _answers(address):
                assert page.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.5)
            yield address
        finally:
            page.send_signal(signal.SIGINT)
            page.wait(60)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/en/", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def drawn(path: Path) -> Path:
    """A picture of one's own: a yellow circle on stripes."""
    picture = Image.new("RGB", (96, 96), (250, 236, 240))
    draw = ImageDraw.Draw(picture)
    for top in range(0, 96, 12):
        draw.rectangle((0, top, 95, top + 5), fill=(238, 218, 226))
    draw.ellipse((50, 46, 88, 84), fill=(236, 212, 36))
    picture.save(path)
    return path


def listed(place: Place, *arguments: str) -> object:
    """What a command says as JSON."""
    done = place.llavaflow(*arguments, "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_a_correction_on_the_page_is_learned_and_the_next_champion_answers_there(
    place: Place, browser: Browser
) -> None:
    first = place.run()
    # Not one of the test sets: what is learned from those is left out.
    image = drawn(place.home.parent / "mine.png")
    with chatting(place) as address:
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        visitor = Visitor(context.new_page(), address)
        # So little was learned that an answer may go on to its longest.
        visitor.page.set_default_timeout(1000 * READY_SECONDS)
        visitor.open()
        visitor.attach(image)
        visitor.ask("What is in the picture?")
        visitor.status(f"llavaflow/{first.version} answered")
        visitor.rest()
        visitor.page.check("#consent input")
        visitor.page.click("#chat-0 button[aria-label=Dislike]")
        visitor.page.wait_for_selector("#panel-note >> text=Marked as bad")
        visitor.page.fill("#correction textarea", "A few shapes on a plain ground.")
        visitor.page.click("#send")
        visitor.status("Thank you")
        visitor.shoot("story-correction")

        assert place.llavaflow("feedback", "accept", "--all-new").returncode == 0
        exported = listed(place, "feedback", "export")
        assert isinstance(exported, dict)
        also = json.dumps([exported["source"]])
        second = place.run(f"data.also={also}", *OPEN_GATE)
        assert second.decision is not None
        assert (second.decision.verdict, second.decision.champion_after) == ("promote", second.version)
        assert second.version != first.version

        # The same endpoint, never started again, follows the alias.
        until = time.monotonic() + READY_SECONDS
        while f"llavaflow/{second.version} answered" not in visitor.page.inner_text("#status"):
            assert time.monotonic() < until, visitor.page.inner_text("#status")
            # A conversation of its own: one that grows would reach the model's longest.
            visitor.page.click("text=New conversation")
            visitor.ask("And now?")
            visitor.status("answered")
            visitor.rest()
            time.sleep(3)
        visitor.shoot("story-next-champion")
        context.close()
    (row,) = [one for one in listed(place, "feedback", "review") if one["item"]["correction"]]  # type: ignore[attr-defined]
    lineage = place.llavaflow("lineage", "--feedback", row["item"]["id"])
    assert lineage.returncode == 0
    assert f"VERSION {second.version} (champion)" in lineage.stdout
    assert f"VERSION {first.version} " not in lineage.stdout
