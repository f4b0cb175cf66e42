"""LLaVA-Bench: its questions in the official layouts, the judge's prompt, its reply, and the relative score.

(COCO) describes an image by captions and boxes, (In-the-Wild) by one description. Protocol: LLaVA's
eval_gpt_review_visual.py, eval_gpt_review_bench.py and summarize_gpt_review.py. Assistant 1 is the reference, a
text-only LLM that read the context; assistant 2 is the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from model.records import IMAGE_TOKEN
from tasks.errors import DataError
from tasks.evaluate.json_files import JsonObject, named, read_lines
from tasks.evaluate.report import Score, rounded
from tasks.statistics import bootstrap_ratio

ALL = "all"
CATEGORIES = ("conv", "detail", "complex")

Scores = tuple[float, float]
"""The judge's scores of the reference and of the model."""

_NUMBER = re.compile(r"\d+(\.\d+)?")
_HIGHEST = 10.0


@dataclass(frozen=True)
class Context:
    """What the judge is told of an image instead of seeing it."""

    captions: tuple[str, ...]
    boxes: tuple[tuple[str, tuple[float, ...]], ...] | None
    """Category and normalised box of each object; None in a set without boxes (In-the-Wild)."""


@dataclass(frozen=True)
class BenchQuestion:
    """A question about an image, with the reference answer. `category` is one of CATEGORIES."""

    id: str
    image: str
    text: str
    category: str
    reference: str
    context: Context


def load_bench(questions: Path, context: Path, references: Path) -> list[BenchQuestion]:
    """The questions in the order of their file.

    Raises DataError when a file cannot be read, or a question has no image, context or reference answer, or occurs
    twice, or its category is none of the three.
    """
    contexts = {_string(row, "image", context): _context(row, context) for row in read_lines(context)}
    answers = _by_question(references)
    found = [
        _question(row, number, questions, contexts, answers) for number, row in enumerate(read_lines(questions))
    ]
    ids = [question.id for question in found]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise DataError(f"{questions} has questions twice: {named(twice)}")
    if not found:
        raise DataError(f"{questions} holds no questions")
    return found


def load_unanswered(questions: Path, context: Path) -> list[BenchQuestion]:
    """The questions of a set that has no references yet; theirs are empty. Raises DataError as `load_bench` does."""
    contexts = {_string(row, "image", context): _context(row, context) for row in read_lines(context)}
    rows = read_lines(questions)
    ids = [str(row.get("question_id", number)) for number, row in enumerate(rows)]
    if twice := sorted({name for name in ids if ids.count(name) > 1}):
        raise DataError(f"{questions} has questions twice: {named(twice)}")
    if not rows:
        raise DataError(f"{questions} holds no questions")
    nothing = dict.fromkeys(ids, "")
    return [_question(row, number, questions, contexts, nothing) for number, row in enumerate(rows)]


def context_block(context: Context) -> str:
    """What is told of an image, as the judge and the maker of references read it."""
    captions = "\n".join(context.captions)
    block = f"[Context]\n{captions}\n\n"
    if context.boxes is not None:
        block += "\n".join(f"{category}: {list(box)}" for category, box in context.boxes) + "\n\n"
    return block


def judge_prompt(
    question: BenchQuestion, answer: str, rule: str, role: str = "Assistant", *, swapped: bool = False
) -> str:
    """What the judge is asked, block by block as published; swapped, the answer stands before the reference."""
    first, second = (answer, question.reference) if swapped else (question.reference, answer)
    return (
        f"{context_block(question.context)}[Question]\n{question.text}\n\n"
        f"[{role} 1]\n{first}\n\n[End of {role} 1]\n\n"
        f"[{role} 2]\n{second}\n\n[End of {role} 2]\n\n"
        f"[System]\n{rule}\n\n"
    )


def parse_scores(reply: str) -> Scores | None:
    """The two scores in the first line of a reply, or None.

    The line must hold exactly two numbers from 0 to 10, separated by white space or a comma, and nothing else. The
    published script stores -1 for anything else and averages it in; None can never be averaged.
    """
    parts = reply.split("\n", 1)[0].replace(",", " ").split()
    if len(parts) != 2 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    first, second = float(parts[0]), float(parts[1])
    return (first, second) if max(first, second) <= _HIGHEST else None


def relative_rows(
    judged: Sequence[tuple[str, Scores]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> dict[str, Score]:
    """100 * sum(model) / sum(reference) per category and, last, over all, with bootstrap intervals.

    `judged` holds the category and the scores of every judgement that succeeded. A category without any has no row;
    the row `all` is always there, without a value where there is nothing to compute it from.
    """
    found = {category for category, _ in judged if category}
    order = [*(name for name in CATEGORIES if name in found), *sorted(found - set(CATEGORIES)), ALL]
    members = {row: [pair for category, pair in judged if row in (ALL, category)] for row in order}
    options = {"confidence": confidence, "resamples": resamples, "seed": seed}
    return {row: _relative(pairs, options) for row, pairs in members.items()}


def withhold(rows: Mapping[str, Score]) -> dict[str, Score]:
    """The same rows without their figures: too many judgements failed for them to mean anything."""
    return {name: Score(value=None, n=score.n) for name, score in rows.items()}


def category_of(name: str) -> str:
    """conv, detail or complex, also where it is written llava_bench_conv; any other name as it is."""
    return name.removeprefix("llava_bench_")


def _relative(pairs: Sequence[Scores], options: Mapping[str, float | int]) -> Score:
    reference, model = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if sum(reference) == 0:  # also when there are no pairs
        return Score(value=None, n=len(pairs))
    low, high = bootstrap_ratio(
        model, reference, confidence=options["confidence"], resamples=int(options["resamples"]),
        seed=int(options["seed"]),
    )
    return Score(value=rounded(sum(model) / sum(reference)), low=rounded(low), high=rounded(high), n=len(pairs))


def _question(
    row: JsonObject, number: int, path: Path, contexts: Mapping[str, Context], answers: Mapping[str, str]
) -> BenchQuestion:
    # The oldest files have no question_id; there, as in the published scripts, the order of lines decides.
    name = str(row.get("question_id", number))
    image, category = _string(row, "image", path), category_of(_string(row, "category", path))
    if category not in CATEGORIES:
        raise DataError(f"{path}: question {name} is of category '{category}'; possible are {', '.join(CATEGORIES)}")
    if image not in contexts:
        raise DataError(f"{path}: question {name} is about {image}, which the context file does not describe")
    if name not in answers:
        raise DataError(f"{path}: question {name} has no reference answer")
    text = _string(row, "text", path).replace(IMAGE_TOKEN, "").strip()
    return BenchQuestion(name, image, text, category, answers[name], contexts[image])


def _by_question(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(read_lines(path)):
        name = str(row.get("question_id", number))
        if name in found:
            raise DataError(f"{path} answers question {name} twice; keep one line of each")
        found[name] = _string(row, "text", path)
    return found


def _context(row: JsonObject, path: Path) -> Context:
    said = row.get("captions", row.get("caption"))
    captions = [said] if isinstance(said, str) else said
    if not isinstance(captions, list) or not captions:
        raise DataError(f"{path}: {row.get('image')} has no captions")
    instances = row.get("instances")
    if instances is None:
        return Context(tuple(map(str, captions)), None)
    if not isinstance(instances, list):
        raise DataError(f"{path}: instances of {row.get('image')} must be a list")
    return Context(tuple(map(str, captions)), tuple(_box(instance, row, path) for instance in instances))


def _box(instance: JsonValue, row: JsonObject, path: Path) -> tuple[str, tuple[float, ...]]:
    box = instance.get("bbox") if isinstance(instance, dict) else None
    if not isinstance(instance, dict) or not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{path}: every instance of {row.get('image')} needs a category and a bbox of four numbers")
    numbers = tuple(side for side in box if isinstance(side, int | float) and not isinstance(side, bool))
    if len(numbers) != 4:
        raise DataError(f"{path}: every instance of {row.get('image')} needs a category and a bbox of four numbers")
    return str(instance.get("category")), numbers


def _string(row: JsonObject, name: str, path: Path) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise DataError(f"{path}: a line lacks the text field '{name}': {str(row)[:80]}")
    return value
