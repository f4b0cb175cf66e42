"""The chat page in a real browser: what people do with it, and what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.conftest import Visitor
from tests.browser.page import Served, picture, served
from tests.fakes.vision_endpoint import VisionEndpoint

# Libraries of the web server warn among themselves; what they warn of is theirs.
pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("ignore")]

BLUE, RED = (36, 72, 214), (216, 32, 36)


def test_upload_ask_and_a_second_turn(visitor: Visitor, tmp_path: Path) -> None:
    visitor.open()
    visitor.shoot("desktop-empty")
    visitor.attach(picture(tmp_path / "blue.png", BLUE))
    visitor.ask("What colour is it?")
    visitor.answered("I see a blue picture of 64 by 48 pixels. Turn 1. You asked: What colour is it?")
    visitor.status("llavaflow/3 answered: 18 tokens")
    visitor.rest()
    visitor.ask("And how large?")
    visitor.answered("I see a blue picture of 64 by 48 pixels. Turn 2. You asked: And how large?")
    visitor.rest()
    visitor.shoot("desktop-two-turns")


def test_several_images_in_one_question(visitor: Visitor, tmp_path: Path) -> None:
    visitor.open()
    visitor.attach(picture(tmp_path / "blue.png", BLUE), picture(tmp_path / "red.jpg", RED, (40, 30)))
    visitor.ask("Compare them")
    visitor.answered("I see a blue picture of 64 by 48 pixels and a red picture of 40 by 30 pixels.")
    visitor.rest()


def test_an_example_is_asked_by_a_click_and_nothing_leaves_the_machine(visitor: Visitor) -> None:
    visitor.open()
    visitor.page.click("#chat-0 button.example")
    visitor.answered("I see a red picture of 64 by 48 pixels. Turn 1. You asked: What colour is this?")
    visitor.rest()
    elsewhere = [url for url in visitor.asked_for if not url.startswith((visitor.url, "data:", "blob:"))]
    assert elsewhere == []


def test_stop_keeps_what_was_said_and_hangs_up(visitor: Visitor, endpoint: VisionEndpoint) -> None:
    visitor.open()
    hung_up, endpoint.pace = endpoint.hung_up, 0.3
    try:
        visitor.ask("Tell me a long story about nothing at all, with every word of it said slowly")
        visitor.answered("I see no picture")
        visitor.page.keyboard.press("Escape")
        visitor.status("Stopped")
        visitor.rest()
    finally:
        endpoint.pace = 0.01
    visitor.page.wait_for_timeout(500)
    assert endpoint.hung_up == hung_up + 1
    assert "said slowly" not in visitor.page.inner_text("#chat-0 .bot")
    visitor.ask("Go on")
    visitor.answered("Turn 2. You asked: Go on")
    visitor.rest()


def test_retry_and_edit_ask_again(visitor: Visitor) -> None:
    visitor.open()
    visitor.ask("First words")
    visitor.answered("You asked: First words")
    visitor.rest()
    visitor.page.click("#chat-0 button[aria-label=Retry]")
    visitor.page.wait_for_selector("#box .stop-button", state="attached")
    visitor.rest()
    assert visitor.said().count("You asked: First words") == 1
    visitor.page.click("#chat-0 button[aria-label=Edit]")
    visitor.page.fill("#chat-0 textarea", "Other words")
    visitor.page.click("#chat-0 button[aria-label=Submit]")
    visitor.answered("Turn 1. You asked: Other words")
    visitor.rest()
    assert "First words" not in visitor.said()


def test_thumbs_with_reason_correction_and_consent(visitor: Visitor, site: Served, tmp_path: Path) -> None:
    visitor.open()
    visitor.attach(picture(tmp_path / "blue.png", BLUE, (50, 50)))
    visitor.ask("What is odd here?")
    visitor.answered("You asked: What is odd here?")
    visitor.rest()
    visitor.page.check("#consent input")
    visitor.page.click("#chat-0 button[aria-label=Dislike]")
    visitor.page.wait_for_selector("#panel-note >> text=Marked as bad")
    visitor.page.check("#reasons input >> nth=1")
    visitor.page.fill("#correction textarea", "Nothing is odd: it is plain blue.")
    visitor.shoot("desktop-feedback")
    visitor.page.click("#send")
    visitor.status("Thank you")
    (stored,) = [one for one in site.store.items() if one.item.messages[0].text == "What is odd here?"]
    item = stored.item
    assert (item.verdict, item.reason, item.consent) == ("bad", "made something up", True)
    assert item.correction == "Nothing is odd: it is plain blue."
    assert item.messages[-1].model == "llavaflow/3"
    assert [site.store.picture(image) is not None for image in item.images] == [True]


def test_a_blind_vote_and_names_after_it(visitor: Visitor, site: Served, tmp_path: Path) -> None:
    visitor.open()
    visitor.page.click("#mode label >> nth=1")
    visitor.page.wait_for_selector("#chat-1")
    visitor.attach(picture(tmp_path / "red.png", RED))
    visitor.ask("Which is better?")
    visitor.answered("I am the other one.", chat=0)
    visitor.answered("You asked: Which is better?", chat=1)
    visitor.rest()
    assert not re.search("llavaflow/|champion|challenger", visitor.page.inner_text("body"))
    visitor.shoot("desktop-compare")
    visitor.page.click("#vote-a")
    visitor.page.wait_for_selector("#vote-note >> text=Model A is llavaflow/4, model B is llavaflow/3.")
    visitor.page.wait_for_selector("#vote-a[disabled]")
    (stored,) = [one for one in site.store.items() if one.item.kind == "vote"]
    assert (stored.item.verdict, stored.item.models) == ("a", ("llavaflow/4", "llavaflow/3"))
    assert not stored.item.consent


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("notes.png", lambda path: path.write_text("no image"), "notes.png is no image that can be read"),
        ("huge.png", lambda path: picture(path, BLUE, (9000, 5000)), "huge.png has 45 megapixels; at most 40"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_the_words_stay(
    visitor: Visitor, tmp_path: Path, name: str, make: Callable[[Path], object], words: str
) -> None:
    visitor.open()
    make(tmp_path / name)
    visitor.attach(tmp_path / name)
    visitor.ask("A question that is not to be lost")
    assert words in visitor.toast()
    visitor.shoot(f"desktop-{name.removesuffix('.png')}")
    assert visitor.page.input_value("#box textarea") == "A question that is not to be lost"


def test_a_wrong_file_type_is_refused_when_it_is_picked(visitor: Visitor, tmp_path: Path) -> None:
    visitor.open()
    (tmp_path / "notes.txt").write_text("no image")
    visitor.pick(tmp_path / "notes.txt")
    assert "Invalid file type" in visitor.toast()
    visitor.shoot("desktop-wrong-type")


def test_the_server_goes_and_comes_back_and_nothing_is_lost(
    browser: Browser, tmp_path: Path
) -> None:
    first = VisionEndpoint(pace=0.01)
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
    with served(tmp_path / "site", first) as site:
        visitor = Visitor(context.new_page(), site.url)
        with first:
            visitor.open()
            visitor.ask("Before")
            visitor.answered("You asked: Before")
            visitor.rest()
        visitor.ask("While it is away")
        visitor.answered("The model's server does not answer. Your question is kept")
        visitor.rest()
        visitor.shoot("desktop-gone")
        with VisionEndpoint(pace=0.01, port=first.port):
            visitor.page.click("#chat-0 button[aria-label=Retry] >> nth=-1")
            visitor.answered("Turn 2. You asked: While it is away")
            visitor.rest()
            visitor.page.reload()
            visitor.answered("Turn 2. You asked: While it is away")
    context.close()


def test_phone_width(browser: Browser, site: Served, tmp_path: Path) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="en-GB", has_touch=True, is_mobile=True, color_scheme="dark"
    )
    visitor = Visitor(context.new_page(), site.url).open()
    visitor.attach(picture(tmp_path / "blue.png", BLUE, (400, 300)))
    visitor.ask("What colour is it?")
    visitor.answered("I see a blue picture of 400 by 300 pixels.")
    visitor.rest()
    visitor.shoot("phone-dark")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert visitor.page.evaluate("document.body.classList.contains('dark')")
    box = visitor.page.locator("#box").bounding_box()
    assert box is not None and box["width"] > 340
    visitor.page.click("#mode label >> nth=1")
    visitor.page.wait_for_selector("#chat-1")
    first, second = (visitor.page.locator(f"#chat-{number}").bounding_box() for number in (0, 1))
    assert first is not None and second is not None and second["y"] >= first["y"] + first["height"]
    visitor.page.screenshot(path=tmp_path / "whole.png", full_page=True)
    visitor.shoot("phone-compare")
    context.close()


def test_by_the_keyboard_alone(visitor: Visitor) -> None:
    visitor.open()
    page = visitor.page
    page.keyboard.type("Only keys")
    page.keyboard.press("Enter")
    visitor.answered("You asked: Only keys")
    visitor.rest()
    reached = set()
    page.focus("#language")
    for _ in range(40):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
        if page.evaluate("document.activeElement.ariaLabel") == "Like":
            break
        page.keyboard.press("Tab")
    assert {"language", "theme", "new", "Retry", "Edit", "Like"} <= reached
    page.keyboard.press("Enter")
    page.wait_for_selector("#panel-note >> text=Marked as good")


def test_dark_light_and_chinese(visitor: Visitor) -> None:
    visitor.open()
    page = visitor.page
    assert not page.evaluate("document.body.classList.contains('dark')")
    page.click("#theme")
    assert page.evaluate("document.body.classList.contains('dark')")
    visitor.shoot("desktop-dark")
    page.click("#language")
    page.wait_for_url("**/zh/")
    page.wait_for_selector("text=比较两个模型")
    page.wait_for_function("document.body.classList.contains('dark')")
    assert page.evaluate("document.documentElement.lang") == "zh"
    visitor.status("就绪")
    visitor.shoot("desktop-chinese")


def test_the_browser_s_language_is_taken(browser: Browser, site: Served) -> None:
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(site.url)
    assert page.url.endswith("/zh/")
    context.close()
