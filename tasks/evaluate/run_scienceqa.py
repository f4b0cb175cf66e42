"""Ask a model the questions of a ScienceQA-layout set, with their images and without, and score both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.schema import EvaluateConfig, ScienceQAConfig
from model.questions import Problem, letter, prompt_of
from tasks.errors import DataError
from tasks.evaluate.answers import Answerer, Prompt, answer_all
from tasks.evaluate.extraction import Rule, parse_answer
from tasks.evaluate.pictures import check_readable, first_there, keep
from tasks.evaluate.replay import size_note
from tasks.evaluate.report import Answered, BenchmarkReport, Example
from tasks.evaluate.scienceqa import (
    Marked,
    Outcome,
    breakdown,
    groups_of,
    load_split,
    mark,
    share_of,
    size_differences,
    topics,
)

NAME = "scienceqa"


@dataclass(frozen=True)
class Questions:
    """The questions to ask, with the images that were found, and how many had to be left out."""

    problems: dict[str, Problem]
    images: dict[str, Path]
    image_missing: int


def load_questions(root: Path, config: ScienceQAConfig) -> Questions:
    """The questions of the split in its order, at most `limit` of them.

    A question whose image is named but not there is left out and counted, for partial copies of the official set are
    common. Raises DataError if no image at all is there, or one cannot be read.
    """
    splits = root / config.splits
    problems = load_split(root / config.problems, splits if splits.is_file() else None, config.split)
    named = {pid: problem for pid, problem in problems.items() if problem.image}
    images = {pid: path for pid, problem in named.items() if (path := _image(root, config, pid, problem))}
    if named and not images:
        pid = next(iter(named))
        raise DataError(
            f"none of the {len(named)} images of split '{config.split}' is there: looked for {root / config.images}/"
            f"{config.split}/{pid}/{named[pid].image} and without the split; set evaluate.scienceqa.images"
        )
    askable = [pid for pid in problems if pid in images or pid not in named][: config.limit]
    for pid in askable:
        if pid in images:
            check_readable(images[pid], f"question {pid}")
    return Questions(
        {pid: problems[pid] for pid in askable},
        {pid: images[pid] for pid in askable if pid in images},
        len(named) - len(images),
    )


def prompts_of(questions: Questions, config: ScienceQAConfig, *, blind: bool) -> dict[str, Prompt]:
    """What is asked, by pid. Blind: the questions with an image only, without it; the others are the same anyway."""
    asked = questions.images if blind else questions.problems
    return {
        pid: Prompt(
            prompt_of(questions.problems[pid], config.prompt_format, with_image=pid in questions.images and not blind),
            None if blind else questions.images.get(pid),
            config.max_new_tokens,
        )
        for pid in asked
    }


def run(
    folder: Path, questions: Questions, config: EvaluateConfig, answerer: Answerer, progress: Callable[[int], None]
) -> tuple[BenchmarkReport, list[Example]]:
    """Ask, score, and keep the images that were shown."""
    own = config.scienceqa
    assert own is not None
    prompts = prompts_of(questions, own, blind=False)
    hidden = prompts_of(questions, own, blind=True) if config.blind else {}
    texts = answer_all(answerer, [*prompts.values(), *hidden.values()], config.batch, progress)
    sighted_texts = dict(zip(prompts, texts, strict=False))
    blind_texts = {**sighted_texts, **dict(zip(hidden, texts[len(prompts) :], strict=True))} if config.blind else None
    sighted = _marks(questions, sighted_texts, own)
    blind = None if blind_texts is None else _marks(questions, blind_texts, own)
    examples = [
        Example(
            id=pid,
            image=_kept(folder, questions, pid),
            prompt=prompts[pid].text,
            correct=f"{letter(problem.answer)}. {problem.choices[problem.answer]}",
            groups=groups_of(problem),
            sighted=_answered(sighted_texts[pid], sighted[pid]),
            blind=None if blind is None or blind_texts is None else _answered(blind_texts[pid], blind[pid]),
        )
        for pid, problem in questions.problems.items()
    ]
    return _report(questions, sighted, blind, config, own), examples


def _report(
    questions: Questions,
    sighted: Mapping[str, Marked],
    blind: Mapping[str, Marked] | None,
    config: EvaluateConfig,
    own: ScienceQAConfig,
) -> BenchmarkReport:
    counts = {outcome.value: _count(sighted.values(), outcome) for outcome in Outcome if outcome is not Outcome.MISSING}
    notes = [f"not the published test split: {difference}" for difference in size_differences(questions.problems)]
    if questions.image_missing:
        notes.append(f"{questions.image_missing} questions of the split left out: their images are not there")
    return BenchmarkReport(
        rows=breakdown(questions.problems, sighted, blind, config.confidence),
        topics=topics(questions.problems, sighted, blind, config.confidence),
        rates={Outcome.UNPARSED.value: share_of(Outcome.UNPARSED, sighted)},
        counts={"questions": len(questions.problems), **counts, "image_missing": questions.image_missing},
        settings={
            "split": own.split,
            "prompt_format": own.prompt_format,
            "rule": own.rule,
            "max_new_tokens": own.max_new_tokens,
            "limit": own.limit,
            "blind": config.blind,
            "confidence": config.confidence,
            "interval": "exact",
        },
        notes=(*notes, *size_note(len(questions.problems), counts[Outcome.RIGHT.value])),
    )


def _image(root: Path, config: ScienceQAConfig, pid: str, problem: Problem) -> Path | None:
    assert problem.image is not None
    folder = root / config.images
    return first_there([folder / config.split / pid / problem.image, folder / pid / problem.image])


def _marks(questions: Questions, texts: Mapping[str, str], own: ScienceQAConfig) -> dict[str, Marked]:
    rule = Rule(own.rule)
    return {
        pid: mark(problem, parse_answer(texts[pid], problem.choices, rule))
        for pid, problem in questions.problems.items()
    }


def _answered(text: str, marked: Marked) -> Answered:
    return Answered(
        text=text,
        outcome=marked.outcome.value,
        choice=None if marked.choice is None else letter(marked.choice),
        reason=marked.reason or None,
    )


def _kept(folder: Path, questions: Questions, pid: str) -> str | None:
    path = questions.images.get(pid)
    return None if path is None else keep(path, folder, NAME, f"{pid}{path.suffix}")


def _count(marked: Iterable[Marked], outcome: Outcome) -> int:
    return sum(answer.outcome is outcome for answer in marked)
