"""From artifact folders to the report's inputs. Reads the files of other stages by their documented fields only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field, JsonValue, TypeAdapter

from model.records import IMAGE_TOKEN, AnnotatedImage, Sample
from tasks.image_files import ImageFiles
from tasks.report import files
from tasks.report.choose import evenly
from tasks.report.inputs import Answer, Benchmark, Conversation, Conversations, Curve, Review, Score, Watched
from tasks.tracker import dotted

WHOLE = {"avg", "all"}
CHOICES = re.compile(r"\(([A-E])\) (.*?)(?= \([A-E]\) |$)")
LETTERED = re.compile(r"([A-E])\. (.*)")
IMAGE_ID = re.compile(r'\{"id": ?"([^"]+)"')
CLOSING = "Answer with the option's letter"


class _Score(files.Score):
    blind_low: float | None = None
    blind_high: float | None = None


class _Benchmark(files.File):
    rows: dict[str, _Score]
    rates: dict[str, float] = Field(default_factory=dict)
    rate_bounds: dict[str, tuple[float, float]] = Field(default_factory=dict)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    told: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Report(files.File):
    benchmarks: dict[str, _Benchmark]


class _Answered(files.File):
    text: str
    outcome: str
    choice: str | None = None
    reason: str | None = None
    scores: tuple[float, float] | None = None
    words: str | None = None


class _Example(files.File):
    id: str
    image: str | None = None
    prompt: str
    correct: str
    groups: tuple[str, ...] = ()
    sighted: _Answered
    blind: _Answered | None = None


class _Point(files.File):
    step: int
    loss: float


class _Asked(files.File):
    step: int
    key: str
    picture: str | None
    question: str
    wanted: str
    answer: str


class _Rejection(files.File):
    reason: str


Row = TypeAdapter(dict[str, JsonValue])


def read_benchmarks(evaluation: Path) -> tuple[Benchmark, ...]:
    """The tables of an EvalReport."""
    report = _Report.model_validate_json((evaluation / "report.json").read_text(encoding="utf-8"))
    return tuple(_benchmark(name, part) for name, part in report.benchmarks.items())


def read_answers(evaluation: Path, benchmark: str = "scienceqa") -> tuple[Answer, ...]:
    """The multiple-choice questions of an EvalReport with their answers; empty if it has none."""
    return tuple(_answer(evaluation, example) for example in _examples(evaluation, benchmark))


def read_reviews(evaluation: Path, benchmark: str = "llava_bench") -> tuple[Review, ...]:
    """The judged answers of an EvalReport; empty if it has none."""
    return tuple(_review(evaluation, example) for example in _examples(evaluation, benchmark))


def read_curve(stage: str, metrics: Path, facts: Mapping[str, str] | None = None) -> Curve:
    """The loss by step out of a Checkpoint's metrics.jsonl."""
    points = [_Point.model_validate_json(line) for line in lines_of(metrics)]
    return Curve(stage=stage, points=tuple((point.step, point.loss) for point in points), facts=dict(facts or {}))


def read_watched(stage: str, checkpoint: Path, shown: int = 5) -> tuple[Watched, ...]:
    """What a stage answered to held-out samples on the way, at steps spread evenly, the last among them."""
    told: dict[str, list[_Asked]] = {}
    for line in lines_of(checkpoint / "answers.jsonl"):
        asked = _Asked.model_validate_json(line)
        told.setdefault(asked.key, []).append(asked)
    return tuple(
        Watched(
            stage=stage, key=key, image=checkpoint / asked[0].picture if asked[0].picture else None,
            question=asked[0].question, wanted=asked[0].wanted,
            answers=tuple((one.step, one.answer) for one in [*evenly(asked[:-1], shown - 1), asked[-1]]),
        )
        for key, asked in told.items()
    )


def read_conversations(conversations: Path, images: Path, shown: int = 6) -> Conversations:
    """What the teacher wrote: a few samples spread over kinds and over the file, and counts of what was rejected.

    `conversations` and `images` are the folders of the ConversationSet and the ImageSet.
    """
    samples = [Sample.model_validate_json(line) for line in lines_of(conversations / "conversations.jsonl")]
    rejections = [_Rejection.model_validate_json(line) for line in lines_of(conversations / "rejected.jsonl")]
    chosen = _spread(samples, shown)
    pictures = pictures_of(images, {sample.image for sample in chosen if sample.image})
    rejected = Counter(rejection.reason.partition(":")[0] for rejection in rejections)
    return Conversations(
        accepted=len(samples),
        rejected=dict(sorted(rejected.items(), key=lambda item: (-item[1], item[0]))),
        samples=tuple(
            Conversation(
                id=sample.id,
                kind=sample.kind,
                image=pictures.get(sample.image or ""),
                turns=tuple((turn.role, turn.text.replace(IMAGE_TOKEN, "").strip()) for turn in sample.conversations),
            )
            for sample in chosen
        ),
    )


def _benchmark(name: str, part: _Benchmark) -> Benchmark:
    rows = [Score(name=row, whole=row in WHOLE, **score.model_dump()) for row, score in part.rows.items()]
    return Benchmark(
        name=name,
        rows=tuple(sorted(rows, key=lambda row: not row.whole)),
        rates=part.rates,
        rate_bounds=part.rate_bounds,
        settings={key: value for key, value in dotted(part.settings) if value not in {"", "null"}} | part.told,
        notes=part.notes,
    )


def _answer(evaluation: Path, example: _Example) -> Answer:
    question, options = question_of(example.prompt)
    blind = example.blind
    return Answer(
        id=example.id,
        image=_image(evaluation, example),
        question=question,
        options=options,
        truth=example.correct[:1],
        said=example.sighted.text,
        choice=example.sighted.choice,
        outcome=example.sighted.outcome,
        blind_said=blind.text if blind else None,
        blind_choice=blind.choice if blind else None,
        blind_outcome=blind.outcome if blind else None,
    )


def _review(evaluation: Path, example: _Example) -> Review:
    blind = example.blind
    return Review(
        id=example.id,
        image=_image(evaluation, example),
        category=next(iter(example.groups), ""),
        question=example.prompt.replace(IMAGE_TOKEN, "").strip(),
        reference=example.correct,
        answer=example.sighted.text,
        scores=example.sighted.scores,
        words=_reasons(example.sighted),
        blind_answer=blind.text if blind else None,
        blind_scores=blind.scores if blind else None,
    )


def question_of(prompt: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The question's words and its (letter, choice) pairs, out of a ScienceQA prompt (QCM or CQM)."""
    words, options = [], []
    for line in prompt.replace(IMAGE_TOKEN, "").strip().splitlines():
        if line.startswith("Options: "):
            options += CHOICES.findall(line.removeprefix("Options: "))
        elif lettered := LETTERED.fullmatch(line):
            options.append((lettered[1], lettered[2]))
        elif line != "Context: N/A" and not line.startswith(CLOSING):
            words.append(line)
    return "\n".join(words), tuple(options)


def _reasons(answered: _Answered) -> str:
    """The judge's words without the line of scores; of a failed judgement, why it failed."""
    if answered.scores is None:
        return answered.reason or "no judgement"
    return (answered.words or "").partition("\n")[2].strip()


def _image(evaluation: Path, example: _Example) -> Path | None:
    return evaluation / example.image if example.image else None


def _examples(evaluation: Path, benchmark: str) -> list[_Example]:
    path = evaluation / "examples" / f"{benchmark}.jsonl"
    return [_Example.model_validate_json(line) for line in lines_of(path)]


def _spread(samples: list[Sample], shown: int) -> list[Sample]:
    """Every kind in turn, each from places spread evenly over its samples."""
    kinds = sorted({sample.kind for sample in samples})
    each = -(-shown // len(kinds)) if kinds else 0
    queues = [evenly([sample for sample in samples if sample.kind == kind], each) for kind in kinds]
    return [queue[at] for at in range(each) for queue in queues if at < len(queue)][:shown]


def pictures_of(images: Path, wanted: set[str]) -> dict[str, bytes]:
    """The bytes of some images of an ImageSet, by id."""
    with ImageFiles(images) as files:
        return {image.id: files.read(image) for image in _records_of(images, wanted)}


def _records_of(images: Path, wanted: set[str]) -> Iterator[AnnotatedImage]:
    for line in lines_of(images / "annotations.jsonl"):
        # Only the few lines that matter are parsed: a set may hold a million images.
        if (found := IMAGE_ID.match(line)) and found[1] in wanted:
            yield AnnotatedImage.model_validate_json(line)


def lines_of(path: Path) -> Iterator[str]:
    """The lines of a file that are not blank; none where there is no file."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as handle:
        yield from (line for line in handle if line.strip())
