"""The page needs nothing but itself, trusts no text it shows, and says what happened."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from tasks.report.inputs import Answer, Benchmark, Compared, Conversations, Decision, ReportInput, Review, Score
from tasks.report.page import render, verdict_of, write_report
from tests.fakes.report_input import report_input

VOID = {"meta", "link", "img", "br", "line", "circle", "polyline"}


class Page(HTMLParser):
    """Collects what a page is made of, and complains where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.described: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href":
                self.links.append(value or "")
            elif name in {"src", "srcset", "data", "poster"}:
                self.sources.append(value or "")
            elif name == "aria-labelledby":
                self.described += (value or "").split()
            elif name.startswith("on"):
                self.handlers.append(name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> ReportInput:
    return report_input(tmp_path_factory.mktemp("report"), questions=120, images=6, steps=300)


def answer(**changes: object) -> Answer:
    plain: dict[str, object] = {
        "id": "1", "image": None, "question": "Which colour?", "options": (("A", "red"), ("B", "blue")), "truth": "A",
        "said": "The answer is B.", "choice": "B", "outcome": "wrong",
    }
    return Answer.model_validate(plain | changes)


def test_the_page_asks_for_nothing_outside_itself(full: ReportInput) -> None:
    text = render(full)
    page = Page(text)
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert all(link.startswith("#") or link == "data:," for link in page.links)
    assert page.tags["script"] == 0 and page.handlers == []
    assert re.findall(r"url\(|@import", text) == []


def test_every_link_and_label_has_its_target_and_no_id_occurs_twice(full: ReportInput) -> None:
    page = Page(render(full))
    assert len(page.ids) == len(set(page.ids))
    targets = {link.removeprefix("#") for link in page.links if link.startswith("#")} | set(page.described)
    assert targets <= set(page.ids) and {"decision", "results", "training", "lineage"} <= targets


def test_all_that_was_asked_for_is_on_the_page(full: ReportInput) -> None:
    page = Page(render(full))
    said = page.words()
    for stage in full.stages:
        assert stage.name in said and stage.digest is not None and stage.digest[:10] in said
    assert full.decision is not None
    for reason in full.decision.reasons:
        assert reason.text in said
    assert "unbalanced 7" in said and "refusal 2" in said
    assert "Version 3" in said and "version 1" in said
    assert "Pairs never trained on" in said and "Complex reasoning" in said
    assert page.tags["svg"] == 2 and page.tags["article"] == 6 + 10 + 10 + 6
    assert "changed: config train.stages.align.lr" in said and "cached" in said


def test_the_same_input_gives_the_same_bytes(full: ReportInput, tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", full)
    write_report(tmp_path / "b.html", full)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_nothing_that_a_model_or_a_teacher_says_becomes_markup() -> None:
    evil = '</p><script>alert(1)</script><img src="http://x/y" onerror="alert(2)">'
    report = ReportInput(
        experiment=evil, run=evil, description=evil,
        answers=(answer(said=evil, question=evil, options=(("A", evil),), blind_said=evil),),
        reviews=(
            Review(
                id=evil, image=None, category=evil, question=evil, reference=evil, answer=evil, scores=(8, 1),
                words=evil,
            ),
        ),
        conversations=Conversations(rejected={evil: 1}),
        environment={evil: evil},
    )
    page = Page(render(report))
    assert page.tags["script"] == 0 and page.tags["img"] == 0 and page.handlers == []
    assert "<script>alert(1)</script>" in page.words()


def test_large_images_are_made_small_and_missing_ones_are_no_failure(tmp_path: Path) -> None:
    Image.effect_noise((3000, 2000), 90).convert("RGB").save(tmp_path / "large.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = (tmp_path / "large.png", tmp_path / "broken.png", tmp_path / "missing.png")
    answers = tuple(answer(id=str(at), image=image) for at, image in enumerate(images))
    text = render(ReportInput(experiment="e", run="r", answers=answers))
    page = Page(text)
    assert len(page.sources) == 1 and len(text) < 150_000
    assert page.words().count("no image") == 2


def test_a_run_that_ended_early_still_has_a_page() -> None:
    page = Page(render(ReportInput(experiment="shapes", run="r1")))
    assert "The run ended before the gate" in page.words()
    assert page.tags["section"] == 0 and page.tags["table"] == 0


def test_a_withheld_score_is_said_to_be_withheld() -> None:
    row = Score(name="all", value=None, n=0, whole=True)
    report = ReportInput(experiment="e", run="r", benchmarks=(Benchmark(name="llava_bench", rows=(row,)),))
    said = Page(render(report)).words()
    assert "All questions 0 withheld" in said and "LLaVA-Bench, all questions withheld" in said


def test_bars_stay_inside_their_track_whatever_the_score() -> None:
    row = Score(name="all", value=130.0, low=90.0, high=171.0, n=9, blind=-3.0, whole=True)
    compared = Compared(name="llava_bench/all", difference=80.0, low=-90.0, high=99.0, n=9, ok=False)
    report = ReportInput(
        experiment="e", run="r", benchmarks=(Benchmark(name="llava_bench", rows=(row,)),),
        decision=Decision(verdict="hold", version="2", compared=(compared,)),
    )
    found = re.findall(r"(?:left|width|right):(?:calc\(100% - )?([-\d.]+)%", render(report))
    assert found and all(0 <= float(share) <= 100 for share in found)


@pytest.mark.parametrize(
    ("verdict", "before", "after", "sentence"),
    [
        ("promote", None, "2", "Version 2 is the first champion."),
        ("promote", "1", "2", "Version 2 replaces version 1 as champion."),
        ("promote", "2", "2", "Version 2 is the champion already; nothing had to be moved."),
        ("promote", "1", "1", "Version 2 passed the gate; the alias was not moved."),
        ("hold", "1", "1", "Version 2 was not promoted; version 1 stays champion."),
        ("hold", None, None, "Version 2 was not promoted; there is no champion."),
    ],
)
def test_the_verdict_is_a_sentence(verdict: str, before: str | None, after: str | None, sentence: str) -> None:
    decision = Decision(verdict=verdict, version="2", champion_before=before, champion_after=after)
    assert verdict_of(decision).sentence == sentence
