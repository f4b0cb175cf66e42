"""References for a LLaVA-Bench-layout set that has none: a text-only LLM answers from the contexts, as in the paper.

So a team makes a bench of its own images: it writes questions and contexts (captions and boxes, or one description an
image), this adds the reference answers that a judge measures against.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from tasks.artifacts import digest_of
from tasks.chat.records import Failure, Message, Reply
from tasks.errors import DataError
from tasks.evaluate.ensembling import PROMPTS, Asked
from tasks.evaluate.json_files import named, read_text
from tasks.evaluate.llava_bench import BenchQuestion, context_block, load_unanswered
from tasks.evaluate.pictures import check_readable, first_there

MAX_ATTEMPTS = 3


def build_references(
    questions: Path,
    context: Path,
    images: Path | None,
    out: Path,
    llm: Asked,
    model: str,
    progress: Callable[[int, int], None],
) -> dict[str, int]:
    """Write the references of a set in the official layout; returns counts.

    `images` is checked where it is given, so that the set can be evaluated afterwards. The file is written when every
    question has its reference, and then in one piece. Raises DataError if the set cannot be used, or an answer could
    not be had after MAX_ATTEMPTS: what was answered is in the ledger, so that running again asks for the rest only.
    """
    asked = load_unanswered(questions, context)
    if images is not None:
        _check_images(asked, images)
    outcomes = _ask(llm, [request(question) for question in asked], progress)
    failed = [question.id for question, outcome in zip(asked, outcomes, strict=True) if _problem(outcome)]
    if failed:
        first = next(problem for outcome in outcomes if (problem := _problem(outcome)))
        raise DataError(
            f"{len(failed)} of {len(asked)} questions have no reference ({first}): {named(failed)}; run again, what "
            "was answered is kept"
        )
    rows = [
        {
            "question_id": question.id,
            "prompt": question.text,
            "text": outcome.text.strip(),
            "category": question.category,
            "answer_id": digest_of([question.id, model, outcome.text])[:22],
            "model_id": model,
        }
        for question, outcome in zip(asked, outcomes, strict=True)
        if isinstance(outcome, Reply)
    ]
    _write(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return {"questions": len(asked), "images": len({question.image for question in asked})}


def request(question: BenchQuestion) -> tuple[Message, ...]:
    """What the LLM is asked."""
    system = read_text(PROMPTS / "reference.txt").rstrip("\n")
    return Message("system", system), Message(
        "user", f"{context_block(question.context)}[Question]\n{question.text}"
    )


def _ask(
    llm: Asked, requests: Sequence[Sequence[Message]], progress: Callable[[int, int], None]
) -> list[Reply | Failure]:
    """One outcome a request; an answer that is empty or cut off, or was not had, is asked for again."""
    found: list[Reply | Failure] = [Failure("not asked")] * len(requests)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        open_ones = [at for at, outcome in enumerate(found) if _problem(outcome)]
        if not open_ones:
            break
        for at, outcome in zip(open_ones, llm([requests[at] for at in open_ones], attempt), strict=True):
            found[at] = outcome
        progress(sum(not _problem(outcome) for outcome in found), len(found))
    return found


def _problem(outcome: Reply | Failure) -> str:
    """Why an outcome is no reference; empty for one that is."""
    if isinstance(outcome, Failure):
        return outcome.reason
    if not outcome.text.strip():
        return "empty answer"
    return "cut off at max_tokens" if outcome.finish_reason == "length" else ""


def _check_images(questions: Sequence[BenchQuestion], images: Path) -> None:
    for name, question in {question.image: question for question in questions}.items():
        path = first_there([images / name, images / f"COCO_val2014_{name}"])
        if path is None:
            raise DataError(f"image {images / name} of question {question.id} is not there; see --images")
        check_readable(path, f"question {question.id}")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.tmp")
    scratch.write_text(text, encoding="utf-8")
    os.replace(scratch, path)
