"""Small benchmarks in the official layouts, written as they come from outside or from stage ingest."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from pydantic import JsonValue

from model.questions import Problem

SEEN, HINTED, PLAIN, UNSEEN = "10", "7", "3", "21"
"""Pids of the four test questions, in the order of their split."""


def problems() -> dict[str, Problem]:
    """Four test questions (image, hint, neither, image of an unseen pair) and one for training."""
    common = {"task": "closed choice", "split": "test", "category": "c", "lecture": "", "solution": ""}
    return {
        "1": Problem(question="Train?", choices=("x", "y"), answer=0, **{**common, "split": "train"}),
        PLAIN: Problem(
            question="Is water wet?", choices=("yes", "no"), answer=0, grade="grade12", subject="language science",
            topic="figurative-language", **common,
        ),
        HINTED: Problem(
            question="Which is hot?", choices=("ice", "fire", "snow", "rain"), answer=1, hint="Fire burns.",
            grade="grade7", subject="social science", topic="geography", **common,
        ),
        SEEN: Problem(
            question="What colour is the circle?", choices=("red", "blue", "green"), answer=2, image="image.png",
            grade="grade2", subject="natural science", topic="colour", **common,
        ),
        UNSEEN: Problem(
            question="What shape is yellow?", choices=("square", "circle", "star"), answer=1, image="image.png",
            grade="grade6", subject="natural science", topic="shape", skill="unseen pair", **common,
        ),
    }


def asked() -> dict[str, Problem]:
    """The test questions in the order of their split."""
    return {pid: problems()[pid] for pid in (SEEN, HINTED, PLAIN, UNSEEN)}


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def write_lines(path: Path, rows: list[dict[str, JsonValue]]) -> Path:
    """Write a JSONL file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_image(path: Path, colour: str = "red") -> Path:
    """Write a small image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def scienceqa_set(folder: Path, with_split: bool = True) -> Path:
    """A ScienceQA-layout set; images lie with their split in the path or without."""
    write_json(folder / "problems.json", {pid: problem.model_dump() for pid, problem in problems().items()})
    write_json(folder / "pid_splits.json", {"train": ["1"], "val": [], "test": list(asked())})
    place = folder / "images" / "test" if with_split else folder / "images"
    for pid in (SEEN, UNSEEN):
        write_image(place / pid / "image.png")
    return folder


QUESTIONS: list[dict[str, JsonValue]] = [
    {"question_id": 0, "image": "001.jpg", "text": "What is this?", "category": "conv"},
    {"question_id": 1, "image": "001.jpg", "text": "Describe it.", "category": "detail"},
    {"question_id": 2, "image": "002.jpg", "text": "Why is it so?", "category": "complex"},
    {"question_id": 3, "image": "002.jpg", "text": "And this?", "category": "llava_bench_conv"},
]


def bench_set(folder: Path, boxes: bool = True) -> Path:
    """A LLaVA-Bench-layout set of four questions on two images: COCO's context with boxes, or In-the-Wild's without."""
    write_lines(folder / "questions.jsonl", QUESTIONS)
    write_lines(
        folder / "answers_gpt4.jsonl",
        [{"question_id": number, "text": f"Reference {number}."} for number in range(len(QUESTIONS))],
    )
    write_lines(folder / "context.jsonl", [_context(name, boxes) for name in ("001", "002")])
    for name in ("001", "002"):
        write_image(folder / "images" / f"{name}.jpg")
    return folder


def _context(name: str, boxes: bool) -> dict[str, JsonValue]:
    if not boxes:
        return {"id": name, "image": f"{name}.jpg", "caption": f"A picture of {name}."}
    return {
        "id": name,
        "image": f"{name}.jpg",
        "captions": [f"A picture of {name}.", "Another sentence."],
        "instances": [{"category": "red circle", "bbox": [0.1, 0.25, 0.5, 1.0]}],
    }


def review(number: int, category: str, reference: float, model: float) -> dict[str, JsonValue]:
    """A line of a review file as the published scripts write it."""
    return {
        "id": number + 1, "question_id": number, "answer1_id": "a", "answer2_id": "b", "category": category,
        "content": f"{reference} {model}\nBecause.", "tuple": [reference, model],
    }
