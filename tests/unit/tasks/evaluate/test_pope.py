"""POPE in its published layout: its metrics by definition, its subsets, and whatever cannot be used, named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from configs.schema import EvaluateConfig, PopeConfig
from tasks.errors import ConfigError, DataError
from tasks.evaluate.benchmark import Bootstrap, read_answers
from tasks.evaluate.pope import Pope
from tasks.evaluate.report import read_examples, read_report
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tests.fakes.models import Model
from tests.unit.tasks.evaluate.sets import write_image, write_lines

LABELS = ("yes", "yes", "yes", "no", "no", "no")


def rows() -> list[dict[str, JsonValue]]:
    return [
        {"question_id": number, "image": "1.jpg", "text": f"Is there thing {number}?", "label": label}
        for number, label in enumerate(LABELS, 1)
    ]


def pope_set(folder: Path, subsets: tuple[str, ...] = ("random", "popular", "adversarial")) -> Path:
    for subset in subsets:
        write_lines(folder / f"coco_pope_{subset}.json", rows())
    write_image(folder / "images" / "1.jpg")
    return folder


def load(root: Path, **changes: object) -> Pope:
    return Pope.load(root, PopeConfig.model_validate(changes), Bootstrap(resamples=200))


def test_measures_are_those_of_the_definition(tmp_path: Path) -> None:
    pope = load(pope_set(tmp_path, ("random",)))
    # Two of three that are there are seen, one of three that are not is seen, too.
    report = pope.score(read_answers(pope, ["yes", "Yes.", "no", "yes", "no", "No, not at all."]))
    figures = {name: score.value for name, score in report.measures.items()}
    assert report.rows["random"].value == pytest.approx(100 * 4 / 6, abs=1e-5)
    assert figures["random/precision"] == pytest.approx(100 * 2 / 3, abs=1e-5)
    assert figures["random/recall"] == pytest.approx(100 * 2 / 3, abs=1e-5)
    assert figures["random/f1"] == figures["mean/f1"] == pytest.approx(100 * 2 / 3, abs=1e-5)
    assert figures["random/yes_ratio"] == 50.0
    f1 = report.measures["mean/f1"]
    assert f1.low is not None
    assert f1.high is not None
    assert f1.low <= 66.7 <= f1.high
    assert report.rows["random"].random == 50.0


def test_the_quoted_figure_is_the_mean_over_subsets(tmp_path: Path) -> None:
    pope = load(pope_set(tmp_path))
    texts = [*LABELS, *["yes"] * 6, *["no"] * 6]
    report = pope.score(read_answers(pope, texts))
    assert [report.measures[f"{name}/f1"].value for name in ("random", "popular", "adversarial")] == [
        100.0, pytest.approx(100 * 2 / 3, abs=1e-5), 0.0,
    ]
    assert report.measures["mean/f1"].value == pytest.approx(100 * (1 + 2 / 3) / 3, abs=1e-5)
    assert report.measures["adversarial/precision"].value is None  # nothing was said to be there
    assert report.rows["all"].n == 18


def test_an_answer_that_is_neither_is_counted_and_by_the_strict_rule_no_score(tmp_path: Path) -> None:
    root = pope_set(tmp_path, ("random",))
    texts = ["a dog", "", "yes", "no", "no", "no"]
    published, strict = load(root), load(root, rule="strict")
    report = published.score(read_answers(published, texts))
    assert (report.counts["neither yes nor no"], report.counts["unparsed"]) == (2, 1)
    assert any("rule llava takes text for yes" in note for note in report.notes)
    report = strict.score(read_answers(strict, texts))
    assert report.counts["unparsed"] == 2
    assert report.measures["random/recall"].value == pytest.approx(100 / 3, abs=1e-5)
    assert report.measures["random/yes_ratio"].value == pytest.approx(100 / 6, abs=1e-5)


def test_the_stage_asks_with_and_without_the_image(tmp_path: Path) -> None:
    root = pope_set(tmp_path / "pope", ("popular",))
    (tmp_path / "out").mkdir()
    truth = {row["text"]: str(row["label"]) for row in rows()}
    model = Model(lambda prompt: truth[prompt.text.split("\n")[1]] if prompt.image else "yes")
    config = EvaluateConfig(pope=PopeConfig(), bootstrap=200)
    built = build_evaluation(tmp_path / "out", {"pope": root}, config, model, None, 0, Silent())
    report = read_report(tmp_path / "out")
    assert report.benchmarks["pope"].rows["popular"].blind == 50.0
    assert report.scores()["pope/mean/f1"] == report.scores()["pope/all"] == 100.0
    assert model.asked[0].text == (
        "<image>\nIs there thing 1?\nAnswer the question using a single word or phrase."
    )
    example = read_examples(tmp_path / "out", "pope")[0]
    assert (example.id, example.correct, example.groups) == ("popular-1", "yes", ("popular",))
    assert example.image is not None
    assert (tmp_path / "out" / example.image).is_file()
    assert built.counts["pope/questions"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "maybe"}, "label of question random-1 is 'maybe'"),
        ({"label": None}, "lacks label"),
        ({"image": "2.jpg"}, r"image .*2\.jpg of question random-1 is not there"),
        ({"question_id": 2}, "questions twice: random-2"),
        ({"text": None}, "lacks text"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: dict[str, JsonValue], message: str) -> None:
    root = pope_set(tmp_path, ("random",))
    first, *rest = rows()
    write_lines(root / "coco_pope_random.json", [first | change, *rest])
    with pytest.raises(DataError, match=message):
        load(root)


def test_a_set_that_is_not_there_or_empty_or_unreadable_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="of any subset"):
        load(tmp_path)
    root = pope_set(tmp_path, ("random",))
    (root / "images" / "1.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1\.jpg of question random-6 cannot be read"):
        load(root)
    (root / "coco_pope_random.json").write_text("\n")
    with pytest.raises(DataError, match="holds no questions"):
        load(root)
    with pytest.raises(ConfigError, match=r"evaluate\.pope has no root"):
        build_evaluation(tmp_path, {}, EvaluateConfig(pope=PopeConfig()), Model(str), None, 0, Silent())


def test_byte_order_mark_crlf_and_a_limit(tmp_path: Path) -> None:
    root = pope_set(tmp_path)
    path = root / "coco_pope_random.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert [one.id for one in load(root, limit=2).questions] == [
        f"{subset}-{number}" for subset in ("random", "popular", "adversarial") for number in (1, 2)
    ]
