"""Small image sets, conversation sets and question sets, written as the stages before `shard` write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from model.records import Sample, Turn
from tests.fakes.image_sets import Made, write_image_set


def image_bytes(name: str) -> bytes:
    """Bytes that stand for an encoded image: shards hold them as they come."""
    return hashlib.sha256(name.encode()).digest() * (1 + len(name) % 40)


def image_set(folder: Path, ids: list[str], captions: int = 3, kind: Literal["jpg", "png"] = "jpg") -> Path:
    """An ImageSet of the given ids."""
    said = {name: tuple(f"caption {number} of {name}" for number in range(captions)) for name in ids}
    write_image_set(folder, [Made(name, image_bytes(name), said[name], format=kind, size=(4, 4)) for name in ids])
    return folder


def conversation(name: str, image: str | None) -> Sample:
    """A conversation of two pairs of turns."""
    asked = "What is it?" if image is None else "<image>\nWhat is it?"
    turns = [("human", asked), ("gpt", f"It is {name}."), ("human", "Sure?"), ("gpt", "Sure - \u00e9.")]
    return Sample.model_validate(
        {
            "id": name,
            "image": image,
            "kind": "conversation",
            "conversations": [{"from": role, "value": text} for role, text in turns],
        }
    )


def conversation_set(folder: Path, samples: list[Sample]) -> Path:
    """A ConversationSet of the given samples."""
    folder.mkdir(parents=True)
    text = "".join(sample.line() + "\n" for sample in samples)
    (folder / "conversations.jsonl").write_text(text, encoding="utf-8")
    return folder


def question_set(images: Path, splits: dict[str, list[str]], with_image: set[str]) -> Path:
    """A ScienceQA-layout set inside an ImageSet."""
    folder = images / "benchmarks" / "scienceqa"
    folder.mkdir(parents=True)
    problems = {}
    for split, pids in splits.items():
        for pid in pids:
            problems[pid] = {
                "question": f"Which is {pid}?",
                "choices": ["this", "that"],
                "answer": 1,
                "hint": "Look.",
                "image": "image.png" if pid in with_image else None,
                "lecture": "One learns.",
                "solution": "It is so.",
                "split": split,
            }
            if pid in with_image:
                path = folder / "images" / split / pid / "image.png"
                path.parent.mkdir(parents=True)
                path.write_bytes(image_bytes(f"question-{pid}"))
    (folder / "problems.json").write_text(json.dumps(problems), encoding="utf-8")
    (folder / "pid_splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


def turn_texts(turns: tuple[Turn, ...]) -> list[str]:
    """What was said, in order."""
    return [turn.text for turn in turns]
