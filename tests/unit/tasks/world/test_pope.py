"""The world's POPE set says the truth, asks as often for what is there as for what is not, in official layout."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from configs.schema import PopeConfig
from tasks.evaluate.benchmark import Bootstrap
from tasks.evaluate.pope import Pope
from tasks.storage import file_table
from tasks.world.pope import SUBSETS, write_pope
from tasks.world.scene import HELD_OUT, make_scene


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pope")
    write_pope(folder, 7, 12)
    return folder


def test_labels_are_the_truth_and_balanced(written: Path) -> None:
    for subset in SUBSETS:
        rows = [json.loads(line) for line in (written / f"coco_pope_{subset}.json").read_text().splitlines()]
        assert Counter(row["label"] for row in rows) == {"yes": len(rows) // 2, "no": len(rows) // 2}
        assert [row["question_id"] for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            scene = make_scene(7, "pope", int(row["image"].split("-")[1].split(".")[0]), "training")
            there = any(" ".join(pair) in row["text"] for pair in scene.pairs)
            assert there is (row["label"] == "yes")
            assert not any(" ".join(pair) in row["text"] for pair in HELD_OUT)


def test_adversarial_questions_differ_from_random_ones_and_all_can_be_asked(written: Path) -> None:
    texts = {subset: (written / f"coco_pope_{subset}.json").read_text() for subset in SUBSETS}
    assert len(set(texts.values())) == len(SUBSETS)
    pope = Pope.load(written, PopeConfig(), Bootstrap())
    assert {one.groups[0] for one in pope.questions} == set(SUBSETS)


def test_equal_seeds_give_equal_files(written: Path, tmp_path: Path) -> None:
    write_pope(tmp_path, 7, 12)
    assert file_table(tmp_path) == file_table(written)
