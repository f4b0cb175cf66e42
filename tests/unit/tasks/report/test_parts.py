"""Charts, choices, words and what is read from artifact folders."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.questions import Problem, PromptFormat, prompt_of
from tasks.report import words
from tasks.report.charts import HEIGHT, WIDTH, loss_chart, ticks
from tasks.report.choose import answers_to_show, evenly, reviews_to_show
from tasks.report.collect import question_of, read_answers, read_conversations, read_curve, read_reviews
from tasks.report.inputs import Answer, Curve, Review
from tests.fakes.evaluations import evaluation
from tests.fakes.report_input import write_conversations, write_metrics

# ---------------------------------------------------------------------------------------------------- charts


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_round_rise_evenly_and_span_the_values(low: float, span: float, count: int) -> None:
    marks = ticks(low, low + span, count)
    steps = [second - first for first, second in pairwise(marks)]
    assert marks[0] <= low + 1e-6 * span and marks[-1] >= low + span - 1e-6 * span
    assert 1 <= len(steps) <= 3 * count
    assert max(steps) - min(steps) < 1e-5 * max(1.0, abs(low) + span)


@pytest.mark.parametrize("count", [1, 2, 29, 30, 5000])
def test_a_curve_is_drawn_inside_its_frame_and_described(count: int) -> None:
    curve = Curve(stage="align", points=tuple((step * 10, 5 / (1 + step)) for step in range(count)))
    root = ElementTree.fromstring(loss_chart(curve, "c"))
    assert root.attrib["role"] == "img" and root.attrib["aria-labelledby"] == "c-t c-d"
    assert root.find("title") is not None and root[0].text == "Loss of stage align by step"
    for line in root.iter("polyline"):
        places = [tuple(map(float, place.split(","))) for place in line.attrib["points"].split()]
        assert all(0 <= across <= WIDTH and 0 <= down <= HEIGHT for across, down in places)
        assert len(places) <= 2 * 400 + 1
    assert {"step", "loss"} <= {text.text for text in root.iter("text")}


def test_a_loss_that_is_not_finite_leaves_a_gap_and_no_chart_is_empty() -> None:
    curve = Curve(stage="align", points=((1, float("nan")), (2, 1.0), (3, float("inf"))))
    assert "1 values from step 2 to 2" in loss_chart(curve, "c")
    assert loss_chart(Curve(stage="align", points=((1, float("nan")),)), "c") == ""


def test_the_name_of_a_stage_cannot_break_out_of_the_chart() -> None:
    assert "<script>" not in loss_chart(Curve(stage="<script>", points=((1, 1.0), (2, 2.0))), "c")


# ---------------------------------------------------------------------------------------------------- choices


def answers(right: int, wrong: int, *, every: int = 2) -> list[Answer]:
    kinds = ["right"] * right + ["wrong"] * (wrong - 1) + ["unparsed"] * min(wrong, 1)
    return [
        Answer(
            id=str(at), image=Path("x.png") if at % every == 0 else None, question="?", truth="A", said="", choice=None,
            outcome=outcome,
        )
        for at, outcome in enumerate(kinds)
    ]


def test_ten_right_and_ten_wrong_answers_are_shown_images_first() -> None:
    found = answers_to_show(answers(100, 100), right=True)
    assert [answer.id for answer in found] == ["0", "10", "20", "30", "40", "50", "60", "70", "80", "90"]
    assert {answer.outcome for answer in answers_to_show(answers(100, 100), right=False)} <= {"wrong", "unparsed"}
    few = answers_to_show(answers(12, 3, every=4), right=True)
    assert [answer.image is not None for answer in few] == [True] * 3 + [False] * 7
    assert len(answers_to_show(answers(2, 1), right=True)) == 2 and answers_to_show([], right=True) == []


def test_judged_answers_of_every_category_are_shown_and_not_always_of_the_same_images() -> None:
    reviews = [
        Review(
            id=str(at), image=Path(f"{at // 3}.png"), category=("conv", "detail", "complex")[at % 3], question="?",
            reference="", answer="", scores=None if at == 0 else (8, 5), words="",
        )
        for at in range(30)
    ]
    found = reviews_to_show(reviews)
    assert [review.category for review in found].count("detail") == 2 and len(found) == 6
    assert all(review.scores for review in found) and len({review.image for review in found}) == 6
    assert reviews_to_show([]) == []


@given(st.lists(st.integers(), max_size=40), st.integers(0, 50), st.floats(0, 0.99))
def test_evenly_keeps_order_and_repeats_nothing(items: list[int], count: int, start: float) -> None:
    places = evenly(range(len(items)), count, start)
    assert places == sorted(set(places)) and len(places) == min(count, len(items))


# ---------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("prompt_format", ["QCM-A", "QCM-LEA", "CQM-A"])
def test_a_prompt_is_taken_apart_into_question_and_options(prompt_format: PromptFormat) -> None:
    options = (("A", "red (or so)"), ("B", "dark blue"), ("C", "green"))
    problem = Problem(question="Which?", choices=tuple(words for _, words in options), answer=1)
    assert question_of(prompt_of(problem, prompt_format)) == ("Which?", options)
    hinted = problem.model_copy(update={"hint": "Look. Twice."})
    question, found = question_of(prompt_of(hinted, prompt_format, with_image=True))
    assert "Which?" in question and "Look. Twice." in question and "<image>" not in question and found == options


def test_answers_and_reviews_are_read_as_the_evaluation_wrote_them(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=8, right=lambda at: at != 3, bench=3, pictures=True)
    found = read_answers(folder)
    assert [answer.outcome for answer in found].count("right") == 7
    assert found[3].truth == "D" and found[3].choice == "A" and found[3].blind_outcome == "wrong"
    assert found[0].image is not None and found[0].image.is_file()
    review = read_reviews(folder)[0]
    assert review.scores == (8.0, 7.0) and review.blind_scores == (8.0, 3.0)
    assert review.words == "Assistant 2 leaves out where the square lies."
    assert read_answers(folder, "other") == ()


def test_a_failed_judgement_says_why_instead_of_scores(tmp_path: Path) -> None:
    folder = evaluation(tmp_path, questions=1, bench=1, scored=lambda _: None)
    assert read_reviews(folder)[0].words == "no two scores on the first line"


def test_conversations_of_every_kind_come_with_their_images_and_rejections_with_their_reasons(tmp_path: Path) -> None:
    write_conversations(tmp_path / "talk", tmp_path / "set", 12)
    found = read_conversations(tmp_path / "talk", tmp_path / "set", shown=5)
    assert found.accepted == 12 and found.rejected == {"unbalanced": 7, "refusal": 2}
    assert len(found.samples) == 5 and len({sample.kind for sample in found.samples}) == 3
    for sample in found.samples:
        assert sample.image is not None and sample.image.startswith(b"\xff\xd8")
        assert not any("<image>" in text for _, text in sample.turns)


def test_curves_are_read_by_step(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.jsonl", 5, 3.0, 1.0)
    assert [step for step, _ in read_curve("align", tmp_path / "metrics.jsonl").points] == [1, 2, 3, 4, 5]
    assert read_curve("align", tmp_path / "none.jsonl").points == ()


# ---------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"), (9.94, "9.9 s"), (12.4, "12 s"), (59.6, "1 min 00 s"), (252, "4 min 12 s"),
        (11100, "3 h 05 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


def test_figures_names_and_moments() -> None:
    assert words.grade(7.0) == "7" and words.grade(6.5) == "6.5"
    assert words.signed(-1.26) == "\N{MINUS SIGN}1.3" and words.signed(0.0) == "+0.0"
    assert words.money(0) == "$0.00" and words.money(0.0123) == "$0.0123" and words.money(12.345) == "$12.35"
    assert words.score_name("scienceqa/img") == "ScienceQA, with an image"
    assert words.score_name("my_bench/odd_row") == "my bench, odd row"
    assert words.moment("2026-11-22T13:05:09+00:00") == "2026-11-22 13:05 UTC"
    assert re.fullmatch(r"1.234.567", words.count(1234567))
    nothing = {words.figure(None), words.duration(None), words.money(None), words.short(None), words.moment(None)}
    assert nothing == {"\N{EN DASH}"}
