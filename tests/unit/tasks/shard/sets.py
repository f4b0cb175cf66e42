"""Small image sets, conversation sets and question sets, written as the stages before `shard` write them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from model.records import AnnotatedImage, Sample, Turn


def image_bytes(name: str) -> bytes:
    """Bytes that stand for an encoded image: shards hold them as they come."""
    return hashlib.sha256(name.encode()).digest() * (1 + len(name) % 40)


def image_set(folder: Path, ids: list[str], captions: int = 3, suffix: str = ".jpg") -> Path:
    """An ImageSet of the given ids."""
    (folder / "images").mkdir(parents=True)
    lines = []
    for name in ids:
        file = f"images/{name}{suffix}"
        (folder / file).write_bytes(image_bytes(name))
        said = tuple(f"caption {number} of {name}" for number in range(captions))
        digest = hashlib.sha256(image_bytes(name)).hexdigest()
        lines.append(AnnotatedImage(id=name, file=file, width=4, height=4, sha256=digest, captions=said))
    text = "".join(line.model_dump_json() + "\n" for line in lines)
    (folder / "annotations.jsonl").write_text(text, encoding="utf-8")
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
