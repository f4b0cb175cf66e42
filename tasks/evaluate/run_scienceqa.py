"""Ask a model the questions of a ScienceQA-layout set, with their images and without, and score both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pydantic import JsonValue

from configs.schema import EvaluateConfig, ScienceQAConfig
from model.questions import cue_of, letter
from tasks.evaluate.answers import Answerer
from tasks.evaluate.pictures import keep
from tasks.evaluate.rates import with_bounds
from tasks.evaluate.replay import size_note
from tasks.evaluate.report import Answered, BenchmarkReport, Example
from tasks.evaluate.scienceqa import Marked, Outcome, breakdown, groups_of, share_of, size_differences, topics
from tasks.evaluate.scienceqa_answers import Given, answers_of
from tasks.evaluate.scienceqa_prompts import Questions, load_questions, prompts_of

__all__ = ["NAME", "Questions", "load_questions", "prompts_of", "run"]

NAME = "scienceqa"


def run(
    folder: Path, questions: Questions, config: EvaluateConfig, answerer: Answerer, progress: Callable[[int], None]
) -> tuple[BenchmarkReport, list[Example]]:
    """Ask, score, and keep the images that were shown."""
    own = config.scienceqa
    assert own is not None
    prompts = prompts_of(questions, own, blind=False)
    withheld = config.blind and own.image_as != "none"
    hidden = prompts_of(questions, own, blind=True) if withheld else {}
    asked = [(questions.problems[pid], prompt) for pid, prompt in [*prompts.items(), *hidden.items()]]
    answers = answers_of(asked, own, answerer, config.batch, progress)
    sighted = dict(zip(prompts, answers, strict=False))
    blind = {**sighted, **dict(zip(hidden, answers[len(prompts) :], strict=True))} if withheld else None
    examples = [
        Example(
            id=pid,
            image=_kept(folder, questions, pid),
            prompt=prompts[pid].text,
            correct=f"{letter(problem.answer)}. {problem.choices[problem.answer]}",
            groups=groups_of(problem),
            sighted=_answered(sighted[pid]),
            blind=None if blind is None else _answered(blind[pid]),
        )
        for pid, problem in questions.problems.items()
    ]
    return _report(questions, _marks(sighted), None if blind is None else _marks(blind), config, own), examples


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
    if questions.uncaptioned:
        notes.append(f"{questions.uncaptioned} questions asked without their image: it has no caption")
    report = BenchmarkReport(
        rows=breakdown(questions.problems, sighted, blind, config.confidence),
        topics=topics(questions.problems, sighted, blind, config.confidence),
        rates={Outcome.UNPARSED.value: share_of(Outcome.UNPARSED, sighted)},
        counts={"questions": len(questions.problems), **counts, "image_missing": questions.image_missing},
        settings={
            **settings_of(questions, own),
            "blind": config.blind,
            "confidence": config.confidence,
            "interval": "exact",
        },
        notes=(*notes, *size_note(len(questions.problems), counts[Outcome.RIGHT.value])),
    )
    return with_bounds(report, len(questions.problems), config.confidence)


def settings_of(questions: Questions, own: ScienceQAConfig) -> dict[str, JsonValue]:
    """All that the figures depend on: how questions were asked, and how answers were had and read."""
    told: dict[str, JsonValue] = {
        "split": own.split,
        "prompt_format": own.prompt_format,
        "answering": own.answering,
        "image_as": own.image_as,
        "limit": own.limit,
    }
    if own.shots:
        told |= {"shots": own.shots, "shots_split": own.shots_split, "examples": list(questions.examples)}
    if own.answering == "likelihood":
        return told | {"rule": "likelihood", "normalise": own.normalise, "end_mark": "left out"}
    told |= {"rule": own.rule, "max_new_tokens": own.max_new_tokens}
    if own.answering == "two_pass":
        told |= {"passes": 2, "cue": cue_of(own.prompt_format).text, "answer_tokens": own.answer_tokens}
    if own.temperature > 0:
        told |= {"temperature": own.temperature, "top_p": own.top_p, "sampling_seed": own.sampling_seed}
    return told


def _marks(given: Mapping[str, Given]) -> dict[str, Marked]:
    return {pid: answer.marked for pid, answer in given.items()}


def _answered(given: Given) -> Answered:
    text, marked = given
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
