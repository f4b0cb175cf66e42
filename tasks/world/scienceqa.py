"""A ScienceQA-layout set about the world: six in ten questions need the image, two a hint, two neither."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Literal

from model.questions import Problem
from tasks.progress import Progress
from tasks.world.drawing import Picture, draw_all
from tasks.world.questions import IMAGE_FILE, SCENE_TOPICS, TEXT_TOPICS, UNSEEN, Evidence, make_problem
from tasks.world.render import PIXELS
from tasks.world.scene import Pairs, Scene, make_scene, seeded

Split = Literal["train", "test"]
HINT_SHARE = 0.2
NONE_SHARE = 0.2
UNSEEN_SHARE = 0.15
"""Part of the image questions of the test split that ask about a held-out pair."""
TOPIC_WEIGHTS = {
    "colour": 3, "shape": 2, "count": 4, "position": 3, "presence": 2, "colours": 4, "corner": 5, "relation": 1,
}
FRESH_TRIES = 50
"""After so many tries a question may repeat one of its own split; never one of the other."""

Identity = tuple[str, str, tuple[str, ...]]
"""Question, hint and choices: what a question without an image consists of."""


@dataclass
class _Writer:
    """Draws questions one after another; remembers which it made."""

    seed: int
    split: Split
    foreign: frozenset[Identity] = frozenset()
    """Questions of the other split, which this one must not repeat."""
    made: set[Identity] = field(default_factory=set)
    next_scene: int = 0

    def problem(self, rng: random.Random, evidence: Evidence, pairs: Pairs) -> tuple[Problem, Scene]:
        """A question of a random topic, and its scene."""
        for attempt in count():
            scene = make_scene(self.seed, f"sqa-{self.split}", self.next_scene, pairs)
            self.next_scene += 1
            problem = make_problem(scene, _topic(rng, evidence), rng, evidence)
            if problem is None or (pairs == "held_out" and problem.skill != UNSEEN):
                continue
            identity = (problem.question, problem.hint, problem.choices)
            repeated = identity in self.foreign or (attempt < FRESH_TRIES and identity in self.made)
            if evidence == "image" or not repeated:
                self.made.add(identity)
                return problem.model_copy(update={"split": self.split}), scene
        raise AssertionError("unreachable")


def write_scienceqa(
    folder: Path, seed: int, train: int, test: int, pixels: int = PIXELS, progress: Progress | None = None
) -> None:
    """problems.json, pid_splits.json and images/{split}/{pid}/image.png, as in ScienceQA.

    Training questions are about training pairs only. Questions without an image do not occur in both splits.
    """
    tested = _Writer(seed, "test")
    test_rows = _draw(tested, test, unseen_share=UNSEEN_SHARE)
    trained = _Writer(seed, "train", frozenset(tested.made))
    rows = _draw(trained, train, unseen_share=0.0) + test_rows
    problems: dict[str, object] = {}
    pictures: list[Picture] = []
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for number, (problem, scene) in enumerate(rows, 1):
        pid = str(number)
        problems[pid] = problem.model_dump()
        splits[problem.split].append(pid)
        if problem.image is not None:
            pictures.append(Picture(scene, folder / "images" / problem.split / pid / IMAGE_FILE, pixels))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "problems.json").write_text(json.dumps(problems, indent=1), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps(splits), encoding="utf-8")
    draw_all(pictures, progress)


def _draw(writer: _Writer, number: int, *, unseen_share: float) -> list[tuple[Problem, Scene]]:
    rng = seeded("scienceqa", writer.seed, writer.split)
    return [writer.problem(rng, evidence, pairs) for evidence, pairs in _plan(rng, number, unseen_share)]


def _plan(rng: random.Random, number: int, unseen_share: float) -> Sequence[tuple[Evidence, Pairs]]:
    """Evidence and pairs of each question, in exact shares and random order."""
    hints, nones = round(number * HINT_SHARE), round(number * NONE_SHARE)
    unseen = round((number - hints - nones) * unseen_share)
    parts: list[tuple[Evidence, Pairs, int]] = [
        ("hint", "training", hints),
        ("none", "training", nones),
        ("image", "held_out", unseen),
        ("image", "training", number - hints - nones - unseen),
    ]
    plan = [(evidence, pairs) for evidence, pairs, times in parts for _ in range(times)]
    rng.shuffle(plan)
    return plan


def _topic(rng: random.Random, evidence: Evidence) -> str:
    if evidence == "none":
        return rng.choice(tuple(TEXT_TOPICS))
    return rng.choices(tuple(SCENE_TOPICS), [TOPIC_WEIGHTS[topic] for topic in SCENE_TOPICS])[0]
