from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from model.questions import Problem
from tasks.world.questions import UNSEEN
from tasks.world.scene import HELD_OUT
from tasks.world.testsets import write_scienceqa

TRAIN, TEST = 400, 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scienceqa")
    write_scienceqa(folder, 7, TRAIN, TEST, 32)
    return folder


@pytest.fixture(scope="module")
def problems(folder: Path) -> dict[str, Problem]:
    rows = json.loads((folder / "problems.json").read_text(encoding="utf-8"))
    return {pid: Problem.model_validate(row) for pid, row in rows.items()}


def of(problems: dict[str, Problem], split: str) -> list[Problem]:
    return [problem for problem in problems.values() if problem.split == split]


def test_splits_name_every_problem_once(folder: Path, problems: dict[str, Problem]) -> None:
    splits = json.loads((folder / "pid_splits.json").read_text(encoding="utf-8"))
    assert list(splits) == ["train", "val", "test"]
    assert (len(splits["train"]), len(splits["val"]), len(splits["test"])) == (TRAIN, 0, TEST)
    assert sorted(splits["train"] + splits["test"]) == sorted(problems)
    assert all(problems[pid].split == split for split, pids in splits.items() for pid in pids)


def test_image_questions_have_their_image_where_scienceqa_puts_it(folder: Path, problems: dict[str, Problem]) -> None:
    expected = {f"images/{row.split}/{pid}/{row.image}" for pid, row in problems.items() if row.image is not None}
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")} == expected
    with Image.open(folder / min(expected)) as image:
        assert (image.size, image.format) == ((32, 32), "PNG")


@pytest.mark.parametrize(("split", "number"), [("train", TRAIN), ("test", TEST)])
def test_shares_of_evidence_are_exact(problems: dict[str, Problem], split: str, number: int) -> None:
    rows = of(problems, split)
    with_image = sum(problem.image is not None for problem in rows)
    hinted = sum(problem.image is None and bool(problem.hint) for problem in rows)
    assert (with_image, hinted) == (0.6 * number, 0.2 * number)


def test_held_out_pairs_are_asked_about_in_the_test_split_alone(problems: dict[str, Problem]) -> None:
    unseen = [problem for problem in of(problems, "test") if problem.skill == UNSEEN]
    assert len(unseen) == round(0.15 * 0.6 * TEST) and all(problem.image for problem in unseen)
    held_out = re.compile(rf"\b({'|'.join(' '.join(pair) for pair in HELD_OUT)})s?\b")
    for problem in of(problems, "train"):
        assert problem.skill != UNSEEN and not held_out.search(json.dumps(problem.model_dump()))


def test_no_question_without_an_image_is_in_both_splits(problems: dict[str, Problem]) -> None:
    train, test = (
        {(p.question, p.hint, p.choices) for p in of(problems, split) if p.image is None} for split in ("train", "test")
    )
    assert not train & test


def test_no_training_image_is_a_test_image(folder: Path) -> None:
    images = folder / "images"
    train, test = ({path.read_bytes() for path in (images / split).rglob("*.png")} for split in ("train", "test"))
    assert train and test and not train & test


def test_equal_arguments_give_equal_bytes_and_another_seed_others(folder: Path, tmp_path: Path) -> None:
    write_scienceqa(tmp_path / "same", 7, TRAIN, TEST, 32)
    write_scienceqa(tmp_path / "other", 8, TRAIN, TEST, 32)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(tmp_path / "same") for p in (tmp_path / "same").rglob("*") if p.is_file())
    assert all((folder / file).read_bytes() == (tmp_path / "same" / file).read_bytes() for file in files)
    assert (tmp_path / "other" / "problems.json").read_bytes() != (folder / "problems.json").read_bytes()


def test_a_test_split_alone_is_possible(tmp_path: Path) -> None:
    write_scienceqa(tmp_path, 7, 0, 5, 16)
    assert len(json.loads((tmp_path / "problems.json").read_text(encoding="utf-8"))) == 5
