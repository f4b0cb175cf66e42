"""MME in its published layout: points by definition, both questions of an image together, bad files named."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.schema import EvaluateConfig, MmeConfig
from tasks.errors import DataError
from tasks.evaluate.benchmark import Bootstrap, read_answers
from tasks.evaluate.mme import Mme, read_task
from tasks.evaluate.report import read_report
from tasks.evaluate.run import build_evaluation
from tasks.progress import Silent
from tests.fakes.models import Model
from tests.unit.tasks.evaluate.sets import write_image

LINES = (
    "1.jpg\tIs it red? Please answer yes or no.\tYes",
    "1.jpg\tIs it blue? Please answer yes or no.\tNo",
    "2.jpg\tIs it red? Please answer yes or no.\tNo",
    "2.jpg\tIs it blue? Please answer yes or no.\tYes",
)


def mme_set(folder: Path, tasks: tuple[str, ...] = ("color", "code_reasoning")) -> Path:
    (folder / "questions").mkdir(parents=True, exist_ok=True)
    for task in tasks:
        (folder / "questions" / f"{task}.txt").write_text("\n".join(LINES) + "\n")
        for name in ("1.jpg", "2.jpg"):
            # The published folders differ: some have a folder of images, some have not.
            write_image(folder / task / ("images" if task == "color" else "") / name)
    return folder


def load(root: Path, **changes: object) -> Mme:
    return Mme.load(root, MmeConfig.model_validate(changes), Bootstrap(resamples=200))


def test_a_task_scores_accuracy_and_accuracy_plus_and_a_kind_their_sum(tmp_path: Path) -> None:
    mme = load(mme_set(tmp_path, ("color", "count", "code_reasoning")))
    texts = {"count": ["Yes", "No", "No", "Yes"], "color": ["yes", "no", "yes", "yes"], "code_reasoning": ["no"] * 4}
    answers = read_answers(mme, [text for task in ("count", "color", "code_reasoning") for text in texts[task]])
    report = mme.score(answers)
    figures = {name: score.value for name, score in report.measures.items()}
    assert (figures["count/score"], figures["color/score"]) == (200.0, 75.0 + 50.0)
    assert figures["perception/score"] == 325.0
    assert figures["cognition/score"] == 50.0 + 0.0
    assert figures["color/acc+"] == 50.0
    assert report.rows["perception"].value == 87.5
    assert report.topics["color"].value == 75.0
    assert any("perception lacks the tasks existence" in note for note in report.notes)
    score = report.measures["perception/score"]
    assert score.n == 4  # images, not questions
    assert score.low is not None
    assert score.high is not None
    assert score.low < 325 <= score.high


def test_what_is_neither_yes_nor_no_is_wrong_and_counted(tmp_path: Path) -> None:
    mme = load(mme_set(tmp_path, ("color",)))
    report = mme.score(read_answers(mme, ["It is", "", "no", "yes"]))
    assert report.rows["all"].value == 50.0
    assert report.rates["unparsed"] == 50.0
    assert report.measures["color/acc+"].value == 50.0


def test_the_stage_runs_it_behind_the_same_contract(tmp_path: Path) -> None:
    root = mme_set(tmp_path / "mme")
    (tmp_path / "out").mkdir()
    model = Model(lambda prompt: "Yes" if prompt.image else "No")
    config = EvaluateConfig(mme=MmeConfig(limit=1), bootstrap=200)
    build_evaluation(tmp_path / "out", {"mme": root}, config, model, None, 0, Silent())
    report = read_report(tmp_path / "out").benchmarks["mme"]
    assert (report.rows["all"].n, report.rows["all"].value, report.rows["all"].blind) == (4, 50.0, 50.0)
    assert report.measures["color/score"].value == 50.0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*LINES, "3.jpg\tIs it?\tYes"], r"two questions an image; .* for 3\.jpg"),
        (["1.jpg Is it red? Yes", *LINES[1:]], "line 1 has 1 columns"),
        ([LINES[0].replace("Yes", "Perhaps"), *LINES[1:]], "line 1: the right answer is 'Perhaps'"),
        ([line.replace("2.jpg", "9.jpg") for line in LINES], r"9\.jpg is not there"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, lines: list[str], message: str) -> None:
    root = mme_set(tmp_path, ("color",))
    (root / "questions" / "color.txt").write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        load(root)


def test_a_folder_without_tasks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of an MME task"):
        load(tmp_path)


def test_result_files_have_the_answer_of_the_model_in_a_fourth_column(tmp_path: Path) -> None:
    path = tmp_path / "color.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "".join(f"{line}\tYes, it is\r\n" for line in LINES).encode())
    assert {said.strip() for _, said in read_task(path, None) if said is not None} == {"Yes, it is"}
