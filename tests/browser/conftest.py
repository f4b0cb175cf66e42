"""Debian's Chromium, headless; the tests skip where there is none.

The server ends with its module: libraries in its thread may warn, which is an error to tests elsewhere.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.page import Served, served
from tests.fakes.vision_endpoint import VisionEndpoint

SHOTS = "CHAT_TEST_SHOTS"
"""Names a folder for screenshots, for a person to look at."""
PATIENCE = 30_000
"""Milliseconds for what takes one on an idle machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium is installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[VisionEndpoint]:
    versions = {"champion": "llavaflow/3", "challenger": "llavaflow/4"}
    manners = {"challenger": " I am the other one."}
    with VisionEndpoint(versions=versions, manners=manners, pace=0.01) as server:
        yield server


@pytest.fixture(scope="module")
def site(endpoint: VisionEndpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("site"), endpoint) as here:
        yield here


class Visitor:
    """Somebody at the page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.asked_for: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.asked_for.append(request.url))

    def open(self, path: str = "/en/") -> Visitor:
        self.page.goto(f"{self.url}{path}")
        self.page.wait_for_selector("#box textarea")
        self.page.wait_for_function("/Ready|就绪/.test(document.querySelector('#status').innerText)")
        return self

    def pick(self, *files: Path) -> None:
        """Pick files by the upload button's dialog."""
        with self.page.expect_file_chooser() as chooser:
            self.page.click("#box [data-testid=upload-button]")
        chooser.value.set_files([str(file) for file in files])

    def attach(self, *files: Path) -> None:
        self.pick(*files)
        self.page.wait_for_function(
            "count => document.querySelectorAll('#box .thumbnails button, #box .thumbnail-item').length >= count",
            arg=len(files),
        )

    def ask(self, text: str) -> None:
        self.page.fill("#box textarea", text)
        self.page.press("#box textarea", "Enter")

    def answered(self, text: str, chat: int = 0) -> None:
        self.page.wait_for_selector(f"#chat-{chat} .bot >> text={text}")

    def rest(self) -> None:
        """Wait until nothing is answered any more."""
        self.page.wait_for_selector("#box .submit-button")

    def said(self, chat: int = 0) -> str:
        return self.page.inner_text(f"#chat-{chat}")

    def status(self, text: str) -> None:
        self.page.wait_for_function("text => document.querySelector('#status').innerText.includes(text)", arg=text)

    def toast(self) -> str:
        self.page.wait_for_selector(".toast-body")
        self.page.wait_for_timeout(800)  # it slides in
        return self.page.inner_text(".toast-body >> nth=-1")

    def shoot(self, name: str) -> None:
        if folder := os.environ.get(SHOTS):
            self.page.screenshot(path=f"{folder}/{name}.png")


@pytest.fixture
def visitor(browser: Browser, site: Served) -> Iterator[Visitor]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    yield Visitor(context.new_page(), site.url)
    context.close()
