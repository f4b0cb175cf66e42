"""The world in official layouts: COCO, ScienceQA and LLaVA-Bench. Equal arguments give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

from model.records import Box
from tasks.progress import Progress
from tasks.world.captions import captions
from tasks.world.drawing import Picture, draw_all
from tasks.world.facts import facts_of
from tasks.world.render import PIXELS
from tasks.world.scene import ALL_PAIRS, Pairs, Scene, Thing, make_scene, seeded
from tasks.world.scienceqa import write_scienceqa
from tasks.world.talk import Exchange, conversation, detail, reasoning

__all__ = ["boxes_of", "write_coco", "write_lines", "write_llava_bench", "write_scienceqa"]


def write_coco(
    folder: Path, seed: int, split: str, count: int, pixels: int = PIXELS, pairs: Pairs = "training",
    progress: Progress | None = None,
) -> None:
    """Scenes in COCO layout: images/<scene id>.jpg, annotations/captions.json, annotations/instances.json.

    Image ids count from 1. Categories are the pairs ("red circle"), their supercategory is the shape.
    """
    scenes = [make_scene(seed, split, index, pairs) for index in range(count)]
    images: list[JsonValue] = [
        {"id": number, "file_name": f"{scene.id}.jpg", "width": pixels, "height": pixels}
        for number, scene in enumerate(scenes, 1)
    ]
    _write_json(folder / "annotations" / "captions.json", {"images": images, "annotations": _coco_captions(scenes)})
    categories: list[JsonValue] = [
        {"id": number, "name": " ".join(pair), "supercategory": pair[1]} for number, pair in enumerate(ALL_PAIRS, 1)
    ]
    instances: dict[str, JsonValue] = {
        "images": images, "annotations": _coco_instances(scenes, pixels), "categories": categories,
    }
    _write_json(folder / "annotations" / "instances.json", instances)
    draw_all([Picture(scene, folder / "images" / f"{scene.id}.jpg", pixels) for scene in scenes], progress)


def write_llava_bench(folder: Path, seed: int, images: int, pixels: int = PIXELS) -> None:
    """Questions in LLaVA-Bench layout, three an image (conv, detail, complex).

    questions.jsonl, context.jsonl (captions and boxes, as the judge reads them), answers_gpt4.jsonl (references, made
    by rules from the truth), images/<scene id>.jpg.
    """
    scenes = [make_scene(seed, "bench", index, "training") for index in range(images)]
    questions: list[JsonValue] = []
    references: list[JsonValue] = []
    for scene in scenes:
        for category, (question, answer) in _bench_exchanges(scene, seed).items():
            number = len(questions)
            questions.append(
                {"question_id": number, "image": f"{scene.id}.jpg", "text": question, "category": category}
            )
            references.append({"question_id": number, "text": answer, "category": category})
    write_lines(folder / "questions.jsonl", questions)
    write_lines(folder / "context.jsonl", [_context(scene) for scene in scenes])
    write_lines(folder / "answers_gpt4.jsonl", references)
    draw_all([Picture(scene, folder / "images" / f"{scene.id}.jpg", pixels) for scene in scenes])


def boxes_of(scene: Scene) -> list[Box]:
    """The boxes of a scene, corners rounded to three decimals as in the paper's prompts."""
    return [Box(category=" ".join(thing.pair), box=_rounded(thing)) for thing in scene.things]


def write_lines(path: Path, rows: Iterable[JsonValue]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _bench_exchanges(scene: Scene, seed: int) -> dict[str, Exchange]:
    facts = facts_of(captions(scene), boxes_of(scene))
    rng = seeded("bench", seed, scene.id)
    return {"conv": conversation(facts, rng, 1)[0], "detail": detail(facts, rng), "complex": reasoning(facts, rng)}


def _context(scene: Scene) -> JsonValue:
    instances: list[JsonValue] = [{"category": box.category, "bbox": list(box.box)} for box in boxes_of(scene)]
    return {
        "id": scene.id, "image": f"{scene.id}.jpg", "captions": list(captions(scene)), "instances": instances,
    }


def _coco_captions(scenes: list[Scene]) -> list[JsonValue]:
    rows: list[JsonValue] = []
    for number, scene in enumerate(scenes, 1):
        for text in captions(scene):
            rows.append({"id": len(rows) + 1, "image_id": number, "caption": text})
    return rows


def _coco_instances(scenes: list[Scene], pixels: int) -> list[JsonValue]:
    rows: list[JsonValue] = []
    for number, scene in enumerate(scenes, 1):
        for thing in scene.things:
            x1, y1, x2, y2 = (round(value * pixels, 2) for value in thing.box())
            width, height = round(x2 - x1, 2), round(y2 - y1, 2)
            rows.append({
                "id": len(rows) + 1, "image_id": number, "category_id": ALL_PAIRS.index(thing.pair) + 1,
                "bbox": [x1, y1, width, height], "area": round(width * height, 2), "iscrowd": 0,
            })
    return rows


def _rounded(thing: Thing) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (round(value, 3) for value in thing.box())
    return (x1, y1, x2, y2)


def _write_json(path: Path, value: dict[str, JsonValue]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
