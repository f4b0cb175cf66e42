"""A POPE-layout set about the world: is this object in the picture? As many yes as no, three ways to choose the no.

As published, objects that are not there are drawn at random, or are the most frequent of the set, or those that most
often occur beside what is there. Held-out pairs are asked about by nobody, as elsewhere in the world.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

from pydantic import JsonValue

from tasks.world.drawing import Picture, draw_all
from tasks.world.render import PIXELS
from tasks.world.scene import TRAINING_PAIRS, Pair, Scene, make_scene, seeded
from tasks.world.testsets import write_lines
from tasks.world.words import with_article

SUBSETS = ("random", "popular", "adversarial")


def write_pope(folder: Path, seed: int, images: int, pixels: int = PIXELS) -> None:
    """coco_pope_<subset>.json (JSON lines: question_id, image, text, label) and images/<scene id>.jpg."""
    scenes = [make_scene(seed, "pope", index, "training") for index in range(images)]
    for subset in SUBSETS:
        rows: list[JsonValue] = []
        for scene, absent in zip(scenes, _absent(scenes, subset, seed), strict=True):
            for there, missing in zip(scene.things, absent, strict=True):
                rows += [_question(len(rows) + at, scene, pair, label) for at, pair, label in (
                    (1, there.pair, "yes"), (2, missing, "no"),
                )]
        write_lines(folder / f"coco_pope_{subset}.json", rows)
    draw_all([Picture(scene, folder / "images" / f"{scene.id}.jpg", pixels) for scene in scenes])


def _absent(scenes: Sequence[Scene], subset: str, seed: int) -> list[list[Pair]]:
    """For every scene as many pairs that it lacks as it has things."""
    often = Counter(pair for scene in scenes for pair in scene.pairs)
    beside = Counter(both for scene in scenes for both in permutations(scene.pairs, 2))
    found = []
    for scene in scenes:
        order = seeded("pope", seed, subset, scene.id).sample(TRAINING_PAIRS, len(TRAINING_PAIRS))
        if subset == "popular":
            order.sort(key=lambda pair: -often[pair])
        elif subset == "adversarial":
            order.sort(key=lambda pair: -sum(beside[there, pair] for there in scene.pairs))
        found.append([pair for pair in order if pair not in scene.pairs][: len(scene.things)])
    return found


def _question(number: int, scene: Scene, pair: Pair, label: str) -> JsonValue:
    text = f"Is there {with_article(' '.join(pair))} in the picture?"
    return {"question_id": number, "image": f"{scene.id}.jpg", "text": text, "label": label}
